//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/onecpu"
)

// A program waits for one of many sockets: only that one is asked whether it is readable.
func TestWaitingForOneOfManySockets(t *testing.T) {
	onecpu.Undo(t)
	bin := needThreads(t)
	inBothPlaces(t, func(t *testing.T, p place) {
		threadsTook(t, newWorld(t, p).config(bin, "ready", "30"))
	})
}

// BenchmarkThreads measures trapped calls of a program with many threads, and as many packet
// sockets: poll for a packet socket, poll for another descriptor, and open, which with NoProcNet is
// not trapped.
func BenchmarkThreads(b *testing.B) {
	bin := needThreads(b)
	for _, place := range []place{here, attached} {
		for _, threads := range []int{1, 8, 64} {
			for _, op := range []string{"poll", "other", "open", "open-no-procnet"} {
				b.Run(fmt.Sprintf("%s/%d/%s", place, threads, op), func(b *testing.B) {
					w := newWorld(b, place)
					calls := max(1, b.N/threads)
					call, _, noProcNet := strings.Cut(op, "-")
					c := w.config(bin, strconv.Itoa(threads), strconv.Itoa(threads), strconv.Itoa(calls), call)
					c.NoProcNet = noProcNet
					took := threadsTook(b, c)
					b.ReportMetric(took/float64(calls*threads), "ns/call")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}

// threadsTook runs testdata/threads.c, and returns what it prints.
func threadsTook(t testing.TB, c Config) (nanoseconds float64) {
	t.Helper()
	o := runContext(t, t.Context(), c, nil)
	nanoseconds, err := strconv.ParseFloat(strings.TrimSpace(o.stdout), 64)
	if o.err != nil || o.ExitCode != 0 || err != nil {
		t.Fatalf("%v, exit code %d: %s%s", o.err, o.ExitCode, o.stdout, o.log)
	}
	return nanoseconds
}

func needThreads(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "threads")
	out, err := exec.Command("cc", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", bin, "testdata/threads.c").CombinedOutput()
	if err != nil {
		need.Program(t, "cc")
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}
