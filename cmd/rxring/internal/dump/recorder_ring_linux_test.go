package dump

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/racetest"
)

// A million packets through the ring of another process's namespace, of which one is a trigger.
// The file has that one, and those before it. Where the writer does not wait and the ring is
// small, packets are dropped: the file's counts include those that are missing in it.
func TestFlightRecorderThroughARing(t *testing.T) {
	need.Time(t, "it captures for a second")
	const memory, size = 8 << 20, 64
	n, match := 1_000_000, 700_000
	if racetest.Enabled {
		n, match = 200_000, 140_000
	}
	const kept = memory / (recordHeader + size)
	for name, c := range map[string]struct{ ring, wait int }{
		"a writer that waits for the reader": {ring: memory, wait: 10_000},
		"a small ring":                       {ring: 1, wait: n},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s, _ := start(t, Config{
				File: "x", Record: Record{Bytes: memory, Trigger: fmt.Sprintf("ether[14:4] = %d", match)},
				Capture: capture.Config{Buffer: c.ring},
			}, true)
			p := rxring.Packet{Data: make([]byte, size)}
			for i := range n {
				if i%c.wait == 0 || i == match { // so that the trigger itself is not dropped
					if err := s.dev.Drain(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				binary.BigEndian.PutUint32(p.Data[14:], uint32(i))
				p.Timestamp = int64(1 + i)
				s.dev.Deliver(&p)
			}
			s.end()
			r, err := s.wait()
			if err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if got := int64(after.HeapSys) - int64(before.HeapSys); got > memory+40<<20 { // all packets are 96 MiB
				t.Errorf("%d bytes of heap for a memory of %d", got, memory)
			}
			f := s.read("x")
			first, last := number(f.packets[0].Data), number(f.packets[len(f.packets)-1].Data)
			missing := uint64(last - first + 1 - len(f.packets))
			t.Logf("%d packets written, %d missing between them, %d dropped of %d told", len(f.packets), missing, f.missed, r.Dropped)
			if r.Captured+r.Dropped != uint64(n) {
				t.Errorf("%d captured and %d dropped of %d", r.Captured, r.Dropped, n)
			}
			if len(f.packets) < kept-1 && first != 0 || last != match {
				t.Errorf("packets %d to %d; want %d, or all, up to %d", first, last, kept, match)
			}
			if f.missed < missing || f.missed > r.Dropped || f.received < f.missed+uint64(len(f.packets)) {
				t.Errorf("the file's counts: %d received, %d dropped; %d packets, of which %d are missing", f.received, f.missed, len(f.packets)+int(missing), missing)
			}
			if c.wait < n && (missing != 0 || r.Dropped != 0) {
				t.Errorf("%d packets are missing, %d were dropped", missing, r.Dropped)
			}
			for i := range f.packets[1:] {
				if a, b := number(f.packets[i].Data), number(f.packets[i+1].Data); b <= a || c.wait < n && b != a+1 {
					t.Fatalf("packet %d is followed by %d", a, b)
				}
			}
		})
	}
}

func number(data []byte) int { return int(binary.BigEndian.Uint32(data[14:])) }
