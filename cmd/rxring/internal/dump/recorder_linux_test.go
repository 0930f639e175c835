package dump

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/capfile"
)

// recording is a flight recorder that a test gives packets.
func recording(t testing.TB, r Record) (*recorder, *device) {
	t.Helper()
	in := &Input{Device: "net0", Handle: new(capture.Handle)}
	in.last = newDevice("net0", 2, 1)
	in.devices = []*device{in.last}
	d := &dumper{Config: Config{File: filepath.Join(t.TempDir(), "x"), Record: r, Quiet: true}, in: in, stderr: os.Stderr, start: time.Now()}
	rec, err := newRecorder(d)
	if errors.Is(err, errors.ErrUnsupported) {
		need.Skip(t, need.System, "%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	rec.out.stats = func() capture.Stats { return capture.Stats{} }
	rec.wake = func() {}
	return rec, in.last
}

// numbers returns the numbers of the packets in a file, which numberedPacket has written.
func numbers(t testing.TB, path string) (all []int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := capfile.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all
		}
		n := int(binary.BigEndian.Uint32(p.Data[14:]))
		if err != nil || p.Timestamp != int64(n) || p.Len != len(p.Data)+n%7 || p.Direction != capfile.Direction(1+n%2) {
			t.Fatalf("packet %d: %+v, %v", n, p, err)
		}
		all = append(all, n)
	}
}

// numberedPacket makes packet n in p, whose data is long enough.
func numberedPacket(p *packet, n int) {
	binary.BigEndian.PutUint32(p.data[14:], uint32(n))
	p.time, p.len, p.outgoing = int64(n), len(p.data)+n%7, n%2 == 1
}

// A million packets, of which one matches: it is in the file, after as many as the memory has,
// without a gap, and no packet needs an allocation.
func TestFlightRecorderOfAMillionPackets(t *testing.T) {
	const memory, n, match = 8 << 20, 1_000_000, 700_000
	r, dev := recording(t, Record{Bytes: memory, Trigger: fmt.Sprintf("ether[14:4] = %d", match)})
	p := packet{device: dev, data: make([]byte, 100)}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		numberedPacket(&p, i)
		if err := r.write(&p); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if err := r.close(capture.Stats{}); err != nil {
		t.Fatal(err)
	}
	if got := after.Mallocs - before.Mallocs; got > n/100 {
		t.Errorf("%d allocations for %d packets", got, n)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > memory {
		t.Errorf("%d bytes allocated beyond the memory", got)
	}
	got := numbers(t, r.out.names.file)
	if want := memory / (recordHeader + 128); len(got) < want*9/10 || got[len(got)-1] != match {
		t.Fatalf("%d packets to %d; want about %d to %d", len(got), got[len(got)-1], want, match)
	}
	for i, n := range got {
		if n != match-len(got)+1+i {
			t.Fatalf("packet %d of %d is %d", i, len(got), n)
		}
	}
}

// A packet that matches, and a request, while a file is being finished: they have another file.
func TestATriggerWhileAFileIsFinished(t *testing.T) {
	r, dev := recording(t, Record{Bytes: minRecord, Trigger: "ether[14:4] = 7 or ether[14:4] = 9"})
	p := packet{device: dev, data: make([]byte, 100)}
	write := func(from, to int) {
		for i := from; i <= to; i++ {
			if numberedPacket(&p, i); r.write(&p) != nil {
				t.Error(r.err)
			}
		}
	}
	answers := make(chan Recording, 1)
	finished := make(chan bool, 3)
	r.out.stats = func() capture.Stats { // finish calls it
		r.mu.Lock()
		finishes := r.writing
		r.mu.Unlock()
		if !finishes { // write calls it
			return capture.Stats{}
		}
		if len(finished) == 0 {
			write(8, 10)
			r.mu.Lock()
			r.triggerLocked(Request{Done: func(done Recording, err error) { answers <- done }})
			r.mu.Unlock()
		}
		finished <- true
		return capture.Stats{}
	}
	write(0, 7)
	if done := <-answers; done.Packets != 3 {
		t.Errorf("the request is answered with %v, want 3 packets", done)
	}
	if err := r.close(capture.Stats{}); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10}} {
		if got := numbers(t, r.out.names.file+strings.Repeat("1", i)); !slices.Equal(got, want) {
			t.Errorf("file %d has packets %v, want %v", i, got, want)
		}
	}
}

// Packets of all lengths, around the end of the memory: those that are kept are the newest, whole.
func TestHistoryKeepsTheNewest(t *testing.T) {
	h, dev := newHistory(minRecord), &device{}
	var kept []int
	for i := range 5000 {
		p := packet{device: dev, data: make([]byte, 18+(i*7919)%9000), time: int64(i)}
		numberedPacket(&p, i)
		p.comment = strings.Repeat("c", i%3)
		if !h.add(&p, ^uint64(0)) {
			t.Fatal("no room")
		}
	}
	for at := h.oldest; at != h.end; {
		var p packet
		p, at = h.packet(at, []*device{dev})
		n := int(binary.BigEndian.Uint32(p.data[14:]))
		if len(p.data) != 18+(n*7919)%9000 || p.time != int64(n) || p.comment != strings.Repeat("c", n%3) {
			t.Fatalf("packet %d: %+v", n, p)
		}
		kept = append(kept, n)
	}
	if len(kept) < minRecord/9000 || kept[len(kept)-1] != 4999 || kept[0] != 5000-len(kept) {
		t.Errorf("%d packets, %d to %d", len(kept), kept[0], kept[len(kept)-1])
	}
}

// While a file is written, packets that are not written keep their place.
func TestHistoryRefusesTheWritersPlace(t *testing.T) {
	h, dev := newHistory(minRecord), &device{}
	p := packet{device: dev, data: make([]byte, 1000)}
	n := 0
	for h.add(&p, 0) {
		n++
	}
	if h.oldest != 0 || n < minRecord/(1000+2*recordHeader) {
		t.Errorf("%d packets, the oldest at %d", n, h.oldest)
	}
	_, second := h.packet(0, nil)
	if !h.add(&p, second) || h.add(&p, second) {
		t.Error("want room for one")
	}
}

func TestEachPacketIsWrittenOnce(t *testing.T) {
	requests := make(chan Request)
	r, dev := recording(t, Record{Bytes: minRecord, Requests: requests})
	p := packet{device: dev, data: make([]byte, 60)}
	ask := func() Recording {
		done := make(chan Recording, 1)
		requests <- Request{Done: func(r Recording, err error) {
			if err != nil {
				t.Error(err)
			}
			done <- r
		}}
		return <-done
	}
	n := 0
	for i, want := range []int{10, 1, 0, 100} {
		for range want {
			numberedPacket(&p, n)
			if err := r.write(&p); err != nil {
				t.Fatal(err)
			}
			n++
		}
		got := ask()
		if all := numbers(t, got.File); got.Packets != uint64(want) || len(all) != want || want > 0 && all[want-1] != n-1 {
			t.Errorf("%v: %d packets", got, len(all))
		}
		name := r.out.names.file
		if i > 0 {
			name += fmt.Sprint(i)
		}
		if got.File != name {
			t.Errorf("%s; want %s", got.File, name)
		}
	}
	if err := r.close(capture.Stats{}); err != nil {
		t.Fatal(err)
	}
}

func TestLastAndAfter(t *testing.T) {
	r, dev := recording(t, Record{Bytes: minRecord, Last: 9, After: time.Hour, Trigger: "ether[14:4] = 20"})
	p := packet{device: dev, data: make([]byte, 60)}
	for i := range 30 {
		numberedPacket(&p, i)
		if err := r.write(&p); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.close(capture.Stats{}); err != nil { // before the hour is over
		t.Fatal(err)
	}
	if got := numbers(t, r.out.names.file); len(got) != 19 || got[0] != 11 || got[18] != 29 {
		t.Errorf("%v", got)
	}
}

// Packets that arrive while the file is written, faster than it is, are in the next one or the
// same: none is lost between.
func TestTriggersThatNeverEnd(t *testing.T) {
	r, dev := recording(t, Record{Bytes: minRecord, Trigger: "ether[17] & 3 = 1"})
	p := packet{device: dev, data: make([]byte, 60)}
	const n = 200_000
	for i := range n {
		numberedPacket(&p, i)
		if err := r.write(&p); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.close(capture.Stats{}); err != nil {
		t.Fatal(err)
	}
	next := 0
	for i := range r.files() {
		name := r.out.names.file
		if i > 0 {
			name += fmt.Sprint(i)
		}
		for _, got := range numbers(t, name) {
			if got != next {
				t.Fatalf("%s: packet %d; want %d", name, got, next)
			}
			next++
		}
	}
	if next < n-4 {
		t.Errorf("%d of %d packets", next, n)
	}
}

// The end of a capture, and of its files: after so many, or when one cannot be written.
func TestFlightRecorderEnds(t *testing.T) {
	for want, c := range map[string]Config{
		"":                        {File: "x", Rotation: Rotation{Files: 1}},
		"no space left on device": {File: "/dev/full"},
	} {
		requests := make(chan Request)
		c.Record = Record{Bytes: minRecord, Requests: requests}
		c.Capture.Immediate = true
		s, _ := start(t, c, true)
		s.deliver(numbered(t, 1), time.Now())
		if err := s.dev.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		requests <- Request{}
		r, err := s.wait()
		if want == "" && (err != nil || r.Captured != 1 || r.Files != 1) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v, %v; want %q", r, err, want)
		}
	}
}

func TestTriggerBySocket(t *testing.T) {
	dir, requests := filepath.Join(t.TempDir(), "recorders"), make(chan Request)
	if all, err := Recorders(dir); all != nil || err != nil {
		t.Error(all, err)
	}
	stop, err := ListenTrigger(dir, requests)
	if err != nil {
		t.Fatal(err)
	}
	me := os.Getpid()
	if all, err := Recorders(dir); len(all) != 1 || all[0] != me || err != nil {
		t.Error(all, err)
	}
	for want, err := range map[string]error{"x: 3 packets of 2s": nil, "no space": errors.New("no space")} {
		go func() { (<-requests).Done(Recording{File: "x", Packets: 3, Span: 2 * time.Second}, err) }()
		got, err2 := Trigger(t.Context(), dir, me)
		if err == nil && got != want || err != nil && (err2 == nil || !strings.Contains(err2.Error(), want)) {
			t.Errorf("%q, %v; want %s", got, err2, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond) // none takes the request
	defer cancel()
	if _, err := Trigger(ctx, dir, me); err == nil {
		t.Error("no error")
	}
	stop()
	if _, err := Trigger(t.Context(), dir, me); err == nil || !strings.Contains(err.Error(), "no flight recorder of this user listens there") {
		t.Error(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenTrigger(dir, requests); err == nil || !strings.Contains(err.Error(), "with mode 0700") {
		t.Error(err)
	}
}

func BenchmarkFlightRecorder(b *testing.B) {
	r, dev := recording(b, Record{Bytes: 64 << 20, Trigger: "tcp[tcpflags] & tcp-rst != 0"})
	p := packet{device: dev, data: append(numbered(b, 1), make([]byte, 40)...)}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.write(&p); err != nil {
			b.Fatal(err)
		}
	}
	r.close(capture.Stats{})
}
