package writer_test

import (
	"sync"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/internal/ownership"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// drawn is b's picture in at most cells letters, with the head's cell in brackets.
func drawn(b writer.Buffer, cells int) string {
	states := make([]slots.State, cells)
	n, head := b.States(states)
	s := ""
	for i, c := range states[:n] {
		letter := string(".wR"[c])
		if i == head {
			letter = "[" + letter + "]"
		}
		s += letter
	}
	return s
}

func wantDrawn(t *testing.T, b writer.Buffer, cells int, want string) {
	t.Helper()
	if got := drawn(b, cells); got != want {
		t.Fatalf("drawn %s, want %s", got, want)
	}
}

// designRing is a ring of 2048-byte slots, of a design.
func designRing(t *testing.T, d ownership.Design, slots uint32) *ownership.Ring {
	t.Helper()
	g := tpacket.Geometry{Version: tpacket.V2, BlockSize: 4096, BlockNr: slots / 2, FrameSize: 2048, FrameNr: slots, FramesPerBlock: 2}
	r, err := ownership.New(ringmem.NewHeap(g.Size()), g, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestStatesFollowASlotThroughItsLife(t *testing.T) {
	for _, d := range ownership.Designs() {
		if d == ownership.Unguarded {
			continue // says of no slot that it is being filled: that is what is wrong with it
		}
		t.Run(d.String(), func(t *testing.T) {
			r := designRing(t, d, 6)
			rd := writer.NewReader(r, new(notify.Notify))
			wantDrawn(t, r, 6, "[.].....")
			for lap := range 3 {
				slow := acquire(t, r, ring.Acquired)
				wantDrawn(t, r, 6, "w[.]....")
				fast := acquire(t, r, ring.Acquired)
				wantDrawn(t, r, 6, "ww[.]...")
				r.Release(fast, tpacket.StatusUser)
				wantDrawn(t, r, 6, "wR[.]...")
				r.Release(slow, tpacket.StatusUser)
				wantDrawn(t, r, 6, "RR[.]...")
				for range 4 {
					r.Release(acquire(t, r, ring.Acquired), tpacket.StatusUser)
				}
				wantDrawn(t, r, 6, "[R]RRRRR")
				for range 6 {
					f, ok := rd.Next()
					if !ok {
						t.Fatalf("lap %d: the reader misses a packet", lap)
					}
					f.Release()
				}
				wantDrawn(t, r, 6, "[.].....")
			}
		})
	}
}

func TestStatesOfManySlotsAreThoseFurthestFromFree(t *testing.T) {
	r := designRing(t, ownership.Ticket, 10)
	for range 7 {
		acquire(t, r, ring.Acquired)
	}
	r.Release(4, tpacket.StatusUser)
	wantDrawn(t, r, 16, "wwwwRww[.]..")
	wantDrawn(t, r, 10, "wwwwRww[.]..")
	wantDrawn(t, r, 4, "wRw[.]") // slots 0 and 1, 2 to 4, 5 and 6, 7 to 9
	wantDrawn(t, r, 1, "[R]")
	wantDrawn(t, r, 0, "")
}

func TestStatesBelieveOfSharedMemoryOnlyWhoseSlotItIs(t *testing.T) {
	r := designRing(t, ownership.Ticket, 4)
	acquire(t, r, ring.Acquired)
	m := r.Memory().Bytes()
	for i := range m {
		m[i] = 0xff // a reader's, all of it
	}
	wantDrawn(t, r, 4, "R[R]RR")
	clear(m)
	wantDrawn(t, r, 4, "w[.]..")
}

func TestStatesOfAClosedRing(t *testing.T) {
	r := designRing(t, ownership.Ticket, 4)
	acquire(t, r, ring.Acquired)
	r.Close()
	wantDrawn(t, r, 4, "w[.]..")
}

func TestStatesFollowABlockThroughItsLife(t *testing.T) {
	b := blocksOf(t, 3, writer.BlocksConfig{})
	rd := writer.NewReader(b, new(notify.Notify))
	const half = 2000
	put := func(m writer.Reservation) { putBlockPacket(b.Bytes(m), half); b.Release(m) }

	wantDrawn(t, b, 8, "[.]..") // open, and nothing in it
	slow := mustRoom(t, b, half)
	wantDrawn(t, b, 8, "[w]..")
	put(mustRoom(t, b, half))
	put(mustRoom(t, b, half)) // does not fit
	wantDrawn(t, b, 8, "w[w].")
	b.Expire()
	wantDrawn(t, b, 8, "wR[.]") // the first one waits for its slow writer
	put(slow)
	wantDrawn(t, b, 8, "RR[.]")
	wantDrawn(t, b, 2, "R[R]")
	put(mustRoom(t, b, half))
	b.Expire()
	wantDrawn(t, b, 8, "[R]RR") // nothing can be opened
	for f, ok := rd.Next(); ok; f, ok = rd.Next() {
		f.Release()
	}
	wantDrawn(t, b, 8, "[.]..")
}

// TestStatesDuringWritesHaveNoRace is for the race detector.
func TestStatesDuringWritesHaveNoRace(t *testing.T) {
	look := func(t *testing.T, b writer.Buffer, write func()) {
		done := make(chan struct{})
		var writers, onlooker sync.WaitGroup
		for range 2 {
			writers.Go(func() {
				for range 2000 {
					write()
				}
			})
		}
		onlooker.Go(func() {
			states := make([]slots.State, 8)
			for {
				select {
				case <-done:
					return
				default:
				}
				if n, head := b.States(states); n != 4 || head >= n {
					t.Errorf("%d cells, head %d: want 4 cells", n, head)
					return
				}
			}
		})
		reader := sync.WaitGroup{}
		reader.Go(func() {
			rd := writer.NewReader(b, new(notify.Notify))
			for {
				for f, ok := rd.Next(); ok; f, ok = rd.Next() {
					f.Release()
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
		writers.Wait()
		close(done)
		onlooker.Wait()
		reader.Wait()
		if b.Captured() == 0 {
			t.Fatal("nothing was captured meanwhile")
		}
	}
	for _, d := range []ownership.Design{ownership.Ticket, ownership.OwnerMap, ownership.ShadowRing} {
		t.Run(d.String(), func(t *testing.T) {
			r := designRing(t, d, 4)
			look(t, r, func() {
				if slot, v := r.Acquire(); v == ring.Acquired {
					tpacket.Header2At(r.Frame(slot)).Snaplen = 1
					r.Release(slot, tpacket.StatusUser)
				}
			})
		})
	}
	t.Run("blocks", func(t *testing.T) {
		b := blocksOf(t, 4, writer.BlocksConfig{Retire: time.Millisecond})
		look(t, b, func() {
			const n = 500
			if m, v := b.Acquire(n); v == ring.Acquired {
				putBlockPacket(b.Bytes(m), n)
				b.Release(m)
			}
		})
	})
}
