package iface

import (
	"fmt"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// slots is what libpcap makes of its default buffer where segments can come.
const slots = 32

// slotReader reads a ring of that many large slots.
type slotReader struct {
	*rxring.Socket
	*ring.Reader
}

func newSlotReader(t testing.TB, dev *rxring.Device) slotReader {
	t.Helper()
	s, err := dev.Namespace().Socket(rxring.SockRaw, 0)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	must(t, s.SetVersion(tpacket.V2))
	const slot = 65632
	must(t, s.SetRxRing(tpacket.Req{BlockSize: 1 << 17, BlockNr: slots, FrameSize: slot, FrameNr: slots}))
	r, err := s.NewReader()
	must(t, err)
	must(t, s.BindDevice(dev, tpacket.ETHPAll))
	return slotReader{s, r}
}

// read takes n packets out of the ring, which are there.
func (r slotReader) read(t testing.TB, n int) {
	t.Helper()
	for range n {
		f, ok := r.Next()
		if !ok {
			t.Fatal("no packet")
		}
		f.Release()
	}
}

// stage is a device with readers of few slots, and a clock of its own.
type stage struct {
	dev     *rxring.Device
	readers []slotReader
	p       patience
	now     time.Time
}

func newStage(t *testing.T, readers int) *stage {
	dev, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "net0"})
	must(t, err)
	s := &stage{dev: dev, now: time.Unix(1e9, 0)}
	for range readers {
		s.readers = append(s.readers, newSlotReader(t, dev))
	}
	return s
}

func (s *stage) comes(n int) {
	for range n {
		s.dev.Deliver(&rxring.Packet{Data: frame(50)})
	}
}

// look is a look at the readers; where they are waited for, time passes.
func (s *stage) look(n int, fresh bool) (fit int) {
	if fit = s.p.look(s.dev, n, s.now, fresh); fit == 0 {
		s.now = s.now.Add(nap)
		s.p.spend(nap)
	}
	return fit
}

// wait looks until the readers get n packets, and says how long that took.
func (s *stage) wait(t *testing.T, n int) time.Duration {
	t.Helper()
	start := s.now
	for s.look(n, true) != n {
		if s.now.Sub(start) > time.Minute {
			t.Fatal("it waits for ever")
		}
	}
	return s.now.Sub(start)
}

func TestPiecesAreAsLargeAsTheRoom(t *testing.T) {
	s := newStage(t, 1)
	for _, c := range []struct{ come, fit int }{{0, 32}, {10, 16}, {10, 8}, {8, 4}, {3, 1}} {
		s.comes(c.come)
		if fit := s.look(32, true); fit != c.fit {
			t.Errorf("%d packets more: room for %d of 32, want %d", c.come, fit, c.fit)
		}
	}
}

func TestTheOnlyReaderIsWaitedForWhileItReads(t *testing.T) {
	s := newStage(t, 1)
	r := s.readers[0]
	s.comes(slots)
	for range 100 { // a slow one
		for range 10 {
			if s.look(1, true) != 0 {
				t.Fatal("not waited for")
			}
		}
		r.read(t, 1)
		if s.look(1, true) != 1 {
			t.Fatal("no room after it has read")
		}
		s.comes(1)
	}
	if s.look(1, false) != 1 {
		t.Error("waited for with a packet that is late already")
	}
	if took := s.wait(t, 1); took < maxAge-time.Millisecond || took > maxAge+time.Millisecond {
		t.Errorf("given up after %v, want %v without a packet read", took, maxAge)
	}
	if took := s.wait(t, 1); took != 0 {
		t.Errorf("waited for again, for %v, though it has read nothing", took)
	}
	r.read(t, 1)
	if s.look(1, true) != 1 {
		t.Error("no room after it has read")
	}
	s.comes(1)
	if s.look(1, true) != 0 {
		t.Error("not waited for though it reads again")
	}
	must(t, r.Close())
	if took := s.wait(t, 1); took != 0 || len(s.p.readers) != 0 {
		t.Errorf("waited %v for one that is closed, %d kept", took, len(s.p.readers))
	}
}

// Readers that read a packet now and then, so that they are always late, have the
// others wait for a 25th of the time, all together.
func TestSeveralReadersHaveABoundedPartOfTheTime(t *testing.T) {
	for _, hostile := range []int{1, 2, 7} {
		t.Run(fmt.Sprint(hostile), func(t *testing.T) {
			s := newStage(t, hostile+1)
			s.comes(slots)
			honest := s.readers[hostile]
			start, longest := s.now, time.Duration(0)
			for range 20000 {
				honest.read(t, 2)
				s.now = s.now.Add(500 * time.Microsecond) // of other work
				if took := s.wait(t, 1); took > longest {
					longest = took
				}
				for _, r := range s.readers[:hostile] {
					r.read(t, 1)
				}
				s.comes(2) // one more than the hostile ones take
			}
			all, waited := s.now.Sub(start), time.Duration(s.p.waited.Load())
			if waited == 0 || waited > all/maxShare+maxSaved {
				t.Errorf("%v of %v", waited, all)
			}
			if longest > time.Duration(hostile)*(maxSaved+nap) {
				t.Errorf("%v at a time", longest)
			}
			if n := honest.Totals(); n.Dropped() != 0 {
				t.Errorf("the honest reader lost %d", n.Dropped())
			}
		})
	}
}

// 20,000 packets a second, which come in bursts, and a reader with 32 slots: it loses
// none. A machine may be too busy for it once, not five times.
func TestAReaderWithFewSlotsLosesNothing(t *testing.T) {
	withWire(t, func(w *wire) {
		source := w.start(Config{})
		for _, size := range []int{200, 1500} {
			const attempts = 5
			for attempt := 1; ; attempt++ {
				lost := w.race(t, source, size)
				if lost == 0 {
					break
				}
				t.Logf("%d bytes: %d of 10000 lost", size, lost)
				if attempt == attempts {
					t.Errorf("%d bytes: some lost, %d times", size, attempts)
					break
				}
			}
		}
		must(t, source.Close())
	})
}

// race sends 10,000 packets to a reader with few slots and says how many it lost.
func (w *wire) race(t *testing.T, source *Source, size int) (lost uint64) {
	const packets, perMilli, behind = 10000, 20, 2000
	r := newSlotReader(t, w.dev)
	defer r.Close()
	begun := source.Stats()
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(time.Millisecond)
		defer t.Stop()
		p := append(frame(0), make([]byte, size)...)[:size]
		for sent := uint64(0); sent < packets; {
			<-t.C // does not catch up
			if s := source.Stats(); sent > s.Packets-begun.Packets+behind && s.Drops == begun.Drops {
				continue // it has no processor
			}
			for range perMilli {
				w.comes(p)
				sent++
			}
		}
	}()
	for n := 0; r.Totals().Offered() < packets; {
		f, ok := r.Next()
		if !ok {
			time.Sleep(10 * time.Microsecond)
			continue
		}
		if f.Release(); n%1000 == 999 {
			time.Sleep(20 * time.Millisecond) // 400 packets
		}
		n++
	}
	<-done
	return packets - r.Totals().Captured
}
