package bench

import (
	"bytes"
	"errors"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/need"
)

// TestEveryCellMovesThePacketsItCounts runs all there is, shortly: a sample
// whose counts do not add up is an error of Run.
func TestEveryCellMovesThePacketsItCounts(t *testing.T) {
	need.Time(t, "it runs every cell")
	descriptors := len(openFiles(t))
	var raw, log bytes.Buffer
	r, err := Run(t.Context(), Config{Rounds: 1, Budget: time.Millisecond, Raw: &raw, Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Logf("%s", &log)
	}
	if got := strings.Count(raw.String(), "\n"); got+len(r.skipped) != len(r.cells)+len(r.floods) {
		t.Errorf("%d samples and %d skipped, of %d cells and %d floods", got, len(r.skipped), len(r.cells), len(r.floods))
	}
	for _, f := range r.floods {
		if f.skipped == "" && (f.sent <= 0 || f.kept <= 0 || f.kept > 1 || f.cpu <= 0) {
			t.Errorf("%s: %+v: want packets sent, a share of them received, and CPU time", f.row, f)
		}
	}
	lossless := make(map[string]bool)
	programs, err := filterPrograms()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contenders(programs[0]) {
		lossless[c.row] = c.alone && c.row != rowUnwatched
	}
	for _, c := range r.cells {
		if r.skipped[c.name()] != "" {
			continue
		}
		f := r.figures[c.name()]
		if f.Ns <= 0 || f.Share < 0 || f.Share > 1 {
			t.Errorf("%s: %+v: want time, and a share", c.name(), f)
		}
		if c.table == pathTable && lossless[c.row] && f.Share != 1 {
			t.Errorf("%s: %.4f of the packets accepted: want all, no reader is behind", c.name(), f.Share)
		}
		if c.row == rowUnwatched && f.Share != 0 {
			t.Errorf("%s: %.4f of the packets accepted without sockets", c.name(), f.Share)
		}
		if (c.row == rowDeliver || c.row == rowStamped || c.row == rowBatch) && f.Allocs > 0.5 { // so short a sample sees the odd allocation of others
			t.Errorf("%s: %.3f allocations a packet: want none", c.name(), f.Allocs)
		}
	}

	var text, markdown strings.Builder
	r.Text(&text)
	r.Markdown(&markdown, "go run ./cmd/table")
	for _, c := range r.cells {
		for name, out := range map[string]string{"text": text.String(), "markdown": markdown.String()} {
			if !strings.Contains(out, c.row) || !strings.Contains(out, c.column) {
				t.Errorf("%s is not in the %s", c.name(), name)
			}
		}
	}

	for _, f := range r.floods {
		for name, out := range map[string]string{"text": text.String(), "markdown": markdown.String()} {
			if !strings.Contains(out, f.row) {
				t.Errorf("%s is not in the %s", f.row, name)
			}
		}
	}

	// Nothing may be left: no process, no descriptor.
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left (%d, %v)", pid, err)
	}
	if err := waitFor(func() bool { return len(openFiles(t)) <= descriptors+2 }); err != nil { // the poller's two
		t.Errorf("%d descriptors before, now %q", descriptors, openFiles(t))
	}
}

func openFiles(t *testing.T) (links []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if link, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			links = append(links, link)
		}
	}
	return links
}

// fake is a session that tells whatever it is told to.
type fake struct {
	sent uint64
	tell func(sent uint64) tally
}

func (f *fake) send(n int)             { f.sent += uint64(n) }
func (f *fake) empty()                 {}
func (f *fake) settle() (tally, error) { return f.tell(f.sent), nil }
func (f *fake) close() error           { return nil }

func TestSampleWhoseCountsDoNotAddUpIsAnError(t *testing.T) {
	for _, c := range []struct {
		name string
		tell func(sent uint64) tally
		want string
	}{
		{"measures nothing", func(uint64) tally { return tally{} }, "add up"},
		{"loses one without a word", func(n uint64) tally { return tally{accepted: n - 1, read: n - 1, bytes: 64 * (n - 1)} }, "add up"},
		{"claims what nobody read", func(n uint64) tally { return tally{accepted: n} }, "0 read"},
		{"cuts packets", func(n uint64) tally { return tally{accepted: n, read: n, bytes: 63 * n} }, "want 64 each"},
		{"is honest about a drop", func(n uint64) tally { return tally{accepted: n - 1, dropped: 1, read: n - 1, bytes: 64 * (n - 1)} }, ""},
	} {
		_, err := measure(&fake{tell: c.tell}, 10, 64, true, time.Microsecond)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestProgramsAreThoseOfTheCorpus(t *testing.T) {
	text, err := os.ReadFile("../cbpf/testdata/en10mb.txt")
	if err != nil {
		t.Fatal(err)
	}
	corpus, err := parsePrograms(text)
	if err != nil {
		t.Fatal(err)
	}
	programs, err := filterPrograms()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		if !reflect.DeepEqual(p.instructions, corpus[p.expression]) {
			t.Errorf("%q: testdata/programs.txt has %v, the corpus %v", p.expression, p.instructions, corpus[p.expression])
		}
	}
}

func TestRunRefusesNothingToDo(t *testing.T) {
	for name, c := range map[string]Config{
		"no such cell": {Rounds: 1, Budget: 1, Only: regexp.MustCompile("^nothing$")},
		"no rounds":    {Budget: 1},
		"no time":      {Rounds: 1},
	} {
		if _, err := Run(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestContenderThatCannotRunHereIsSaidLoudly(t *testing.T) {
	var log strings.Builder
	r := &Report{Config: Config{Log: &log}, skipped: make(map[string]string)}
	r.skip("Path/TAP/64 B", errors.Join(errSkip, io.EOF))
	if !strings.Contains(log.String(), "NOT MEASURED: Path/TAP/64 B") || r.skipped["Path/TAP/64 B"] == "" {
		t.Errorf("log %q", log.String())
	}
}
