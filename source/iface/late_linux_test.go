package iface

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
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

// stage is a drain of a kernel ring that is not there, and readers of few slots.
type stage struct {
	*drain
	readers []slotReader
	sent    uint64
}

func newStage(t *testing.T, readers int) *stage {
	dev, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "net0"})
	must(t, err)
	c := Config{}
	must(t, c.check(dev))
	s := &stage{drain: &drain{dev: dev, queue: newQueue(&c, minSnaplen)}}
	for range readers {
		s.readers = append(s.readers, newSlotReader(t, dev))
	}
	return s
}

// comes hands out n packets in one batch.
func (s *stage) comes(n int) {
	b := s.queue.fresh(false)
	b.n = n
	for i := range n {
		b.packets[i] = rxring.Packet{Data: frame(int(s.sent) % 900)}
		b.frames[i] = ring.Frame{Data: b.packets[i].Data}
		s.sent++
	}
	s.handOut(b)
	if s.queue.late > 0 {
		s.catchUp(false)
	}
}

// readAll reads what lies in a reader's ring; it wants the packets from that number on.
func (s *stage) readAll(t *testing.T, r slotReader, want *int) {
	t.Helper()
	for {
		f, ok := r.Next()
		if !ok {
			return
		}
		if got := number(f.Data); got != *want%900 {
			t.Fatalf("packet %d, want %d", got, *want%900)
		}
		*want++
		f.Release()
	}
}

// A reader that stands still for a while gets everything afterwards. Meanwhile the other
// gets each packet when it comes.
func TestALateReaderLosesNothingAndDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		prompt, late := s.readers[0], s.readers[1]
		var first, second int
		for range 20 {
			for range 50 {
				s.comes(20)
				s.readAll(t, prompt, &first)
				if uint64(first) != s.sent {
					t.Fatalf("%d of %d packets while another is late", first, s.sent)
				}
				time.Sleep(time.Millisecond)
			}
			if s.queue.late != 1 {
				t.Fatal("no reader is late: nothing to see")
			}
			for s.queue.late > 0 {
				s.readAll(t, late, &second)
				s.catchUp(false)
			}
			s.readAll(t, late, &second)
		}
		if first != second || prompt.Totals().Dropped()+late.Totals().Dropped() != 0 {
			t.Errorf("%d and %d packets, %+v and %+v", first, second, prompt.Totals(), late.Totals())
		}
		if n := s.packets.Load(); n != s.sent || len(s.queue.batches) != 0 {
			t.Errorf("%d of %d delivered, %d batches kept", n, s.sent, len(s.queue.batches))
		}
	})
}

// Readers that stopped, or read a packet now and then, keep a bounded part of the kernel's
// ring, and what they lose is counted. One that is late beside them has its own time.
func TestReadersThatStopOrDawdleCostOthersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 4)
		prompt, late, dawdles, stopped := s.readers[0], s.readers[1], s.readers[2], s.readers[3]
		var first, second int
		for i := range 5000 {
			s.comes(20)
			s.readAll(t, prompt, &first)
			if uint64(first) != s.sent {
				t.Fatalf("%d of %d packets at once", first, s.sent)
			}
			if i%50 == 49 {
				for uint64(second) != s.sent {
					s.readAll(t, late, &second)
					s.catchUp(false)
				}
			}
			if f, ok := dawdles.Next(); ok {
				f.Release()
			}
			if len(s.queue.batches) > 0 {
				if age := time.Since(s.queue.batches[0].read); age > s.queue.maxKept {
					t.Fatalf("a batch is kept for %v", age)
				}
			}
			time.Sleep(time.Millisecond)
		}
		s.finish()
		for i, r := range s.readers {
			if got := r.Totals(); got.Offered() != s.sent || i < 2 && got.Dropped() != 0 {
				t.Errorf("reader %d: %+v of %d", i, got, s.sent)
			}
		}
		if n := stopped.Totals().Captured; n != slots {
			t.Errorf("the stopped reader has %d packets, want its %d slots", n, slots)
		}
		if s.queue.late != 0 || len(s.queue.batches) != 0 {
			t.Errorf("at the end %d are late, %d batches kept", s.queue.late, len(s.queue.batches))
		}
	})
}

// A reader that has stopped does not count: the only one that reads is waited for as if it
// were alone, until the other reads again.
func TestAStoppedReaderTakesNoPatienceFromAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		reads, stops := s.readers[0], s.readers[1]
		var first int
		for !s.queue.alone {
			s.comes(1)
			s.readAll(t, reads, &first)
			time.Sleep(time.Millisecond)
		}
		for range 3 {
			s.comes(slots)
			s.comes(slots)
			time.Sleep(maxAlone - time.Millisecond)
			s.catchUp(false)
			if s.queue.late != 1 {
				t.Fatal("not waited for")
			}
			for uint64(first) != s.sent {
				s.readAll(t, reads, &first)
				s.catchUp(false)
			}
		}
		s.comes(slots)
		s.comes(slots)
		stops.read(t, slots)
		time.Sleep(s.queue.maxKept + time.Millisecond)
		s.catchUp(false)
		if s.queue.late != 0 || s.queue.alone {
			t.Error("waited for as if it were alone, beside one that reads again")
		}
		if got := stops.Totals(); got.Offered() != s.sent {
			t.Errorf("%+v of %d", got, s.sent)
		}
	})
}

// Kept batches are bounded by their bytes, too: a block is handed over when it is full.
func TestALateReaderKeepsABoundedNumberOfBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		s.queue.maxBytes = 1 << 16
		first := 0
		for range 500 {
			s.comes(32)
			s.readAll(t, s.readers[0], &first)
			if len(s.queue.batches) > 16 { // of 4 KiB at least
				t.Fatalf("%d batches kept", len(s.queue.batches))
			}
		}
		if got := s.readers[1].Totals(); got.Dropped() == 0 || s.readers[0].Totals().Dropped() != 0 {
			t.Errorf("the late one %+v, the other %+v", got, s.readers[0].Totals())
		}
	})
}

func TestTheOnlyReaderIsWaitedForWhileItReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1)
		r := s.readers[0]
		n := 0
		s.comes(32)
		s.comes(1)
		for range 10 {
			time.Sleep(maxAlone - time.Millisecond)
			s.catchUp(false)
			if s.queue.late != 1 {
				t.Fatal("not waited for")
			}
			r.read(t, 4) // of RoomFor's estimates, one is enough
			n += 4
			s.catchUp(false)
			if s.queue.late != 0 {
				t.Fatal("no room after it has read")
			}
			for s.queue.late == 0 {
				s.comes(1)
			}
		}
		time.Sleep(maxAlone + time.Millisecond)
		s.catchUp(false)
		if got := r.Totals(); s.queue.late != 0 || got.Offered() != s.sent || got.Dropped() == 0 {
			t.Errorf("not given up: %+v of %d", got, s.sent)
		}
		s.comes(32)
		if s.queue.late != 0 {
			t.Error("waited for though it has read nothing since")
		}
		for f, ok := r.Next(); ok; f, ok = r.Next() {
			f.Release()
		}
		s.comes(32)
		s.comes(1)
		if s.queue.late != 1 {
			t.Error("not waited for though it reads again")
		}
		must(t, r.Close())
		s.catchUp(false)
		if s.queue.late != 0 || len(s.queue.readers) != 0 || len(s.queue.batches) != 0 {
			t.Errorf("waited for though it is closed: %+v", s.queue)
		}
	})
}

// 20,000 packets a second, which come in bursts, and a reader with 32 slots: it loses
// none. A machine may be too busy for it once, not five times.
func TestAReaderWithFewSlotsLosesNothing(t *testing.T) {
	need.Time(t, "it sends on a veth pair for seconds")
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

// A reader that is given up, hands slots back at that moment, and then stops again is late.
// It does not count as stopped meanwhile: the drain would wait for it as for the only one.
func TestAReaderThatIsLateAgainDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		reads, stops := s.readers[0], s.readers[1]
		var first int
		s.comes(slots)
		s.comes(slots)
		time.Sleep(s.queue.maxKept)
		s.readAll(t, reads, &first)
		s.comes(slots)
		time.Sleep(time.Millisecond)

		q, to := &s.queue, s.queue.all[1]
		r := q.readers[to]
		for i, room := range []int{slots, 8} { // as catchUp does, with a reader that reads in between
			b, _ := q.batchOf(r.next)
			if n := q.grant(to, r, b, slots, time.Now()); n != room {
				t.Fatalf("batch %d: %d packets granted, want %d", i, n, room)
			} else {
				s.dev.DeliverLate(to, latest, b.packets[:n])
				r.next += uint64(n)
			}
			if i == 0 {
				stops.read(t, 8)
			}
		}
		if s.catchUp(false); !r.late || q.alone {
			t.Errorf("late %v, the other is alone: %v", r.late, q.alone)
		}
	})
}

// A late reader keeps half of the kernel's ring at most, however long packets are: no two
// fit into a block that are longer than half of it.
func TestALateReaderKeepsHalfOfTheKernelsRing(t *testing.T) {
	need.Time(t, "it captures for a second")
	for _, size := range []int{60, 1514, 9000, 33000, 44000, 65535} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, 2)
			s.queue.maxKept = time.Hour // bytes alone count
			p := make([]byte, size)
			fit := minBlock / (size + overhead)
			for range 2 * defaultBuffer / (size + overhead) / batchSize {
				b := s.queue.fresh(false)
				b.n = batchSize
				for i := range b.n {
					b.packets[i] = rxring.Packet{Data: frame(0)}
					b.frames[i] = ring.Frame{Data: p}
				}
				s.handOut(b)
				s.catchUp(false)
				for f, ok := s.readers[0].Next(); ok; f, ok = s.readers[0].Next() {
					f.Release()
				}
				if f, ok := s.readers[1].Next(); ok { // it dawdles
					f.Release()
				}
				blocks := len(s.queue.batches) * batchSize / fit
				if most := defaultBuffer/minBlock/share + 2*batchSize/fit + 1; blocks > most {
					t.Fatalf("%d bytes: %d blocks kept, want at most %d", size, blocks, most)
				}
			}
			s.finish()
		})
	}
}

// Longer packets have longer blocks, and so fewer, which last for less time.
func TestALateReadersTimeIsForTheBlocksThereAre(t *testing.T) {
	c := Config{Retire: time.Millisecond, Buffer: 32 << 20}
	for snaplen, blocks := range map[int]int{100: 256, minSnaplen: 256, 150000: 128, maxSnaplen: 64} {
		if got, want := newQueue(&c, snaplen).maxKept, time.Duration(blocks/share)*time.Millisecond; got != want {
			t.Errorf("snaplen %d: %v, want %v", snaplen, got, want)
		}
	}
}
