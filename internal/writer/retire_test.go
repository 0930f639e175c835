//go:build !explore

package writer

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// timedBlocks is a ring with a timer of a millisecond. woken counts the blocks that
// the reader gets.
func timedBlocks(t *testing.T, woken *atomic.Int32) *Blocks {
	t.Helper()
	g := tpacket.Geometry{Version: tpacket.V3, BlockSize: 4096, BlockNr: 2}
	b, err := NewBlocks(ringmem.NewHeap(g.Size()), g, BlocksConfig{Retire: time.Millisecond, Wake: func() { woken.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *Blocks) parked() bool { return b.open.Load()&b.layout.units == b.layout.parked() }

func deliver(t *testing.T, b *Blocks) {
	t.Helper()
	m, v := b.Acquire(100)
	if v != ring.Acquired {
		t.Fatalf("no room for a packet: %v", v)
	}
	*tpacket.Header3At(b.Bytes(m)) = tpacket.Header3{NextOffset: m.Size()}
	b.Release(m)
}

// The timer of an idle ring stops, and the packet that ends the silence waits no
// longer for it than any other.
func TestTheTimerStopsWhileARingIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken atomic.Int32
		b := timedBlocks(t, &woken)
		defer b.Close()
		for round := 1; round <= 2; round++ {
			time.Sleep((parkAfter + 2) * time.Millisecond)
			synctest.Wait()
			if !b.parked() || int(woken.Load()) != round-1 {
				t.Fatalf("round %d: the timer runs: %v, %d blocks handed over", round, !b.parked(), woken.Load())
			}
			deliver(t, b)
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if int(woken.Load()) != round || b.Status(uint32(round-1)) != tpacket.StatusUser|tpacket.StatusBlkTmo {
				t.Errorf("round %d: %d blocks handed over after a period, the status is %#x", round, woken.Load(), b.Status(uint32(round-1)))
			}
		}
	})
}

// In a full ring the timer is slow, but opens the block that the reader hands back;
// a packet that comes before it waits one period, no longer.
func TestTheTimerOfAFullRing(t *testing.T) {
	for name, packetFirst := range map[string]bool{"the timer opens the block": false, "a packet does": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var woken atomic.Int32
				b := timedBlocks(t, &woken)
				defer b.Close()
				for range 2 {
					deliver(t, b)
					time.Sleep(time.Millisecond)
					synctest.Wait() // the timer's period ends at this moment, too
				}
				if _, v := b.Acquire(100); v != ring.Full || woken.Load() != 2 {
					t.Fatalf("the ring is not full: %v, %d blocks handed over", v, woken.Load())
				}
				time.Sleep(5*frozenRetire + time.Millisecond)
				b.SetStatus(0, tpacket.StatusKernel)
				if !packetFirst {
					time.Sleep(frozenRetire)
					synctest.Wait()
					if d := b.Desc(0); d.SeqNum != 3 || d.NumPkts != 0 {
						t.Errorf("the block was not opened: it has number %d and %d packets", d.SeqNum, d.NumPkts)
					}
				}
				deliver(t, b)
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if woken.Load() != 3 {
					t.Errorf("%d blocks handed over, want 3", woken.Load())
				}
			})
		})
	}
}

// A ring whose timer has stopped may be moved, and closed.
func TestAParkedRingMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken atomic.Int32
		b := timedBlocks(t, &woken)
		time.Sleep(time.Second)
		synctest.Wait()
		g := b.Geometry()
		moved, err := b.Move(ringmem.NewHeap(g.Size()))
		if err != nil {
			t.Fatal(err)
		}
		deliver(t, moved)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if woken.Load() != 1 {
			t.Errorf("%d blocks handed over, want 1", woken.Load())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !moved.parked() {
			t.Error("the timer runs")
		}
		if err := moved.Close(); err != nil {
			t.Error(err)
		}
		if _, v := moved.Acquire(100); v != ring.NoRoom {
			t.Errorf("a closed ring: %v", v)
		}
	})
}
