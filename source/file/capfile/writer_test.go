package capfile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rxring/rxring/internal/need"
)

// run runs a program that need not be installed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	need.Program(t, name)
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, stderr.Bytes())
	}
	return string(out)
}

// writeSample writes two interfaces, packets of every remainder of four, and
// statistics.
func writeSample(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample.pcapng")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w, err := NewWriter(file, Section{Hardware: "amd64", OS: "Linux", Application: "rxring test"})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int, 2)
	for i, in := range []Interface{
		{Name: "net0", LinkType: LinkEthernet, SnapLen: 96, Filter: "tcp port 80"},
		{Name: "tun5", LinkType: LinkRaw},
	} {
		if ids[i], err = w.AddInterface(in); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		frame := append(bytes.Repeat([]byte{0xaa}, 12), 0x88, 0xb5) // a local experimental EtherType
		frame = append(frame, bytes.Repeat([]byte{byte(i)}, 46+i)...)
		if err := w.WritePacket(ids[0], 1700000000_000000001+int64(i), 1000+i, frame, Direction(i%3)); err != nil {
			t.Fatal(err)
		}
	}
	ip := append([]byte{0x45, 0, 0, 21, 0, 0, 0, 0, 64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}, 7)
	if err := w.WritePacket(ids[1], 1700000001_999999999, len(ip), ip, Outbound); err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	count := func() *uint64 { n++; return new(n) }
	for _, id := range ids {
		if err := w.WriteStats(id, Stats{
			Time: 1700000002_000000000, Start: 1700000000_000000000, End: 1700000002_000000003,
			Received: count(), Dropped: count(), Accepted: count(), OSDropped: count(), Delivered: count(),
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTsharkReadsWhatIsWritten(t *testing.T) {
	need.Time(t, "it runs tshark often")
	path := writeSample(t)
	out := run(t, "tshark", "-r", path, "-t", "e", "-T", "fields",
		"-e", "frame.interface_name", "-e", "frame.time_epoch", "-e", "frame.cap_len", "-e", "frame.len", "-e", "frame.packet_flags_direction")
	want := []string{
		"net0\t1700000000.000000001\t60\t1000\t",
		"net0\t1700000000.000000002\t61\t1001\t0x00000001",
		"net0\t1700000000.000000003\t62\t1002\t0x00000002",
		"net0\t1700000000.000000004\t63\t1003\t",
		"tun5\t1700000001.999999999\t21\t21\t0x00000002",
	}
	if got := strings.Split(strings.TrimSuffix(out, "\n"), "\n"); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("tshark shows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCapinfosShowsInterfacesAndStatistics(t *testing.T) {
	out := run(t, "capinfos", writeSample(t))
	for _, want := range []string{
		"rxring test", "Name = net0", "Capture length = 96", "Filter string = tcp port 80",
		"Name = tun5", "Encapsulation = Raw IP", "Time precision = nanoseconds (9)", "Number of stat entries = 1",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestTcpdumpReadsWhatIsWritten(t *testing.T) {
	// tcpdump wants one link type: editcap would do; here the raw one is left out.
	path := filepath.Join(t.TempDir(), "one.pcapng")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w, err := NewWriter(file, Section{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := w.AddInterface(Interface{LinkType: LinkRaw})
	if err != nil {
		t.Fatal(err)
	}
	ip := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	if err := errors.Join(w.WritePacket(id, 12_000000034, len(ip), ip, Inbound), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if out := run(t, "tcpdump", "-nr", path, "--time-stamp-precision=nano", "-tt"); !strings.Contains(out, "12.000000034 IP 192.0.2.1 > 192.0.2.2") {
		t.Errorf("tcpdump shows %s", out)
	}
}

func TestWriterRefusesWhatCannotBe(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, Section{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddInterface(Interface{Name: "net0", LinkType: LinkEthernet}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		do   func() error
		want string
	}{
		"an interface that there is not":   {func() error { return w.WritePacket(1, 0, 1, []byte{1}, 0) }, "interface 1: want one that AddInterface has returned, of 1"},
		"an interface below the first":     {func() error { return w.WriteStats(-1, Stats{}) }, "interface -1"},
		"a time before the epoch":          {func() error { return w.WritePacket(0, -1, 1, []byte{1}, 0) }, "time of -1 ns"},
		"a start before the epoch":         {func() error { return w.WriteStats(0, Stats{Start: -5}) }, "time of -5 ns"},
		"more bytes than the packet had":   {func() error { return w.WritePacket(0, 0, 1, []byte{1, 2}, 0) }, "packet with 2 of 1 bytes"},
		"a packet that is too long":        {func() error { return w.WritePacket(0, 0, MaxPacket+1, make([]byte, MaxPacket+1), 0) }, "want at most 1048576"},
		"a name that no option can hold":   {func() error { _, err := w.AddInterface(Interface{Name: strings.Repeat("x", 1<<16)}); return err }, "text of 65536 bytes"},
		"a filter that no option can hold": {func() error { _, err := w.AddInterface(Interface{Filter: strings.Repeat("x", 1<<16)}); return err }, "text of 65537 bytes"},
	} {
		if err := c.do(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, c.want)
		}
	}
	before := w.w.Buffered()
	if err := w.WritePacket(0, 0, 1, nil, 0); err != nil {
		t.Errorf("a packet of which nothing was kept: %v", err)
	}
	if got := w.w.Buffered() - before; got != 32 {
		t.Errorf("it took %d bytes, want 32", got)
	}
}

type fullDisk struct{ room int }

var errFull = errors.New("disk full")

func (d *fullDisk) Write(b []byte) (int, error) {
	if d.room -= len(b); d.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestAnErrorOfTheFileIsReturnedFromThenOn(t *testing.T) {
	w, err := NewWriter(&fullDisk{room: writerBuffer}, Section{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := w.AddInterface(Interface{LinkType: LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 1500)
	for range 1000 {
		if err = w.WritePacket(id, 1, len(packet), packet, 0); err != nil {
			break
		}
	}
	for _, err := range []error{err, w.WritePacket(id, 1, len(packet), packet, 0), w.WriteStats(id, Stats{}), w.Flush()} {
		if !errors.Is(err, errFull) {
			t.Errorf("error %v, want %v", err, errFull)
		}
	}
}

func TestWritingAPacketAllocatesNothing(t *testing.T) {
	w, err := NewWriter(io.Discard, Section{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := w.AddInterface(Interface{LinkType: LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 61)
	if n := testing.AllocsPerRun(10000, func() {
		if err := w.WritePacket(id, 1, len(packet), packet, Outbound); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkWritePacket(b *testing.B) {
	w, err := NewWriter(io.Discard, Section{})
	if err != nil {
		b.Fatal(err)
	}
	id, err := w.AddInterface(Interface{LinkType: LinkEthernet})
	if err != nil {
		b.Fatal(err)
	}
	packet := make([]byte, 1500)
	b.SetBytes(int64(len(packet)))
	for b.Loop() {
		w.WritePacket(id, 1, len(packet), packet, Outbound)
	}
}

func TestCommentsOfPackets(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, Section{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := w.AddInterface(Interface{Name: "wg0", LinkType: LinkRaw})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 70000)
	comments := []string{"", "a", "ab", "abc", "abcd", "verdict: accept", long, ""}
	for i, c := range comments {
		for _, d := range []Direction{DirectionUnknown, Outbound} {
			if err := w.WriteCommented(id, int64(i), 5+i, make([]byte, i), d, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	ps, _, err := readAll(&file)
	if err != nil || len(ps) != 2*len(comments) {
		t.Fatalf("%d packets, %v", len(ps), err)
	}
	for i, p := range ps {
		want := comments[i/2][:min(len(comments[i/2]), maxText)]
		if p.Comment != want || len(p.Data) != i/2 || (p.Direction == Outbound) != (i%2 == 1) {
			t.Errorf("packet %d: %d bytes, direction %v, comment %.20q; want %.20q", i, len(p.Data), p.Direction, p.Comment, want)
		}
	}
}

// A Reader that is reset reads a section as a file, and the file of both as one.
func TestSectionsAndReset(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, Section{})
	if err != nil {
		t.Fatal(err)
	}
	section := func(n int) []byte {
		at := file.Len()
		if n > 0 {
			if err := w.BeginSection(Section{}); err != nil {
				t.Fatal(err)
			}
		}
		id, err := w.AddInterface(Interface{Name: "eth0", LinkType: LinkEthernet, Description: "web-1"})
		if err != nil || id != 0 {
			t.Fatalf("interface %d: %v", id, err)
		}
		if err := w.WritePacket(id, int64(n), 60, frame(n, 60), Inbound); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		return file.Bytes()[at:]
	}
	first, second := bytes.Clone(section(0)), bytes.Clone(section(1))
	r, err := NewReader(bytes.NewReader(second))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, b := range [][]byte{second, first, gzipped(t, second), slices.Concat(first, second)} {
		if err := r.Reset(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		want := []int64{1}
		switch i {
		case 1:
			want = []int64{0}
		case 3:
			want = []int64{0, 1}
		}
		for _, ts := range want {
			if p, err := r.Next(); err != nil || p.Timestamp != ts || !bytes.Equal(p.Data, frame(int(ts), 60)) {
				t.Fatalf("file %d: packet at %d, %v; want one at %d", i, p.Timestamp, err, ts)
			}
		}
		if _, err := r.Next(); err != io.EOF || len(r.Interfaces()) != 1 {
			t.Errorf("file %d: %v, interfaces %v", i, err, r.Interfaces())
		}
		if err := r.Reset(strings.NewReader("no capture")); !errors.Is(err, ErrFormat) {
			t.Errorf("no capture: %v", err)
		}
	}
}
