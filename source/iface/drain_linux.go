package iface

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
)

// drain takes packets out of one kernel ring and delivers them.
type drain struct {
	dev    *rxring.Device
	handle *capture.Handle

	stop atomic.Bool   // pairs with the load in run
	done chan struct{} // closed when run has returned
	err  error         // why it did by itself; to be read once done is closed

	patience patience

	packets, cut atomic.Uint64
	batches      int // that its goroutine has delivered

	delivering sync.Mutex // held for each piece of a batch
	marks      []mark     // guarded by delivering

	reporting sync.Mutex
	reported  uint64 // drops that the device knows of; guarded by reporting
}

// run delivers until stop or an error; then it calls ended.
func (d *drain) run(ended func()) {
	if d.err = d.loop(); d.err != nil {
		defer ended()
	}
	close(d.done)
}

func (d *drain) loop() error {
	b := &batch{linked: !d.dev.Type().Ethernet()}
	for !d.stop.Load() {
		n, err := d.handle.ReadBatch(context.Background(), b.frames[:])
		switch {
		case err == nil:
			d.deliver(b, n)
		case errors.Is(err, os.ErrDeadlineExceeded): // stop has been set
		case errors.Is(err, unix.ENETDOWN): // said once; packets come when the interface is up again
		default:
			return err
		}
	}
	return nil
}

// deliver hands on the first n packets of b, where they lie, and gives their memory
// back to the kernel.
func (d *drain) deliver(b *batch, n int) {
	var cut uint64
	for i := range n {
		if b.load(i) {
			cut++
		}
	}
	for done := 0; done < n; {
		more := d.patience.room(d.dev, n-done, b.packets[done].Timestamp, &d.stop)
		d.delivering.Lock() // not while it waits: Bind does, for this
		d.deliverBatch(b.packets[done : done+more])
		d.packets.Add(uint64(more))
		d.delivering.Unlock()
		done += more
	}
	for i := range n {
		b.frames[i].Release()
	}
	if d.batches++; d.batches%reportEvery == 0 {
		d.reportLost()
	}
	if cut > 0 {
		d.cut.Add(cut)
	}
}

// close ends the drain, then its ring: in this order, since the ring's memory
// changes when it is closed.
func (d *drain) close() {
	d.stop.Store(true)
	d.handle.SetDeadline(time.Unix(1, 0)) // wakes it
	<-d.done
	d.handle.Close()
	d.giveUp()
}

// addTo adds what d has done.
func (d *drain) addTo(s *Stats) {
	s.Packets += d.packets.Load()
	s.Waited += time.Duration(d.patience.waited.Load())
	s.Cut += d.cut.Load()
	kernel, _ := d.handle.Stats() // the last answer, if it is closed
	s.Drops += kernel.Drops
	s.Freezes += kernel.Freezes
}
