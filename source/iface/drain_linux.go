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

// drain reads packets from one kernel ring and delivers them.
type drain struct {
	dev    *rxring.Device
	handle *capture.Handle

	stop atomic.Bool   // pairs with the load in run
	done chan struct{} // closed when run has returned
	err  error         // the error that ended run; valid once done is closed

	queue  queue
	waited atomic.Int64 // nanoseconds that it slept while a reader was late

	packets, cut atomic.Uint64 // packets: received by all receivers
	batches      int           // delivered by its goroutine

	delivering sync.Mutex // held for each piece of a batch
	marks      []mark     // guarded by delivering

	reporting sync.Mutex
	reported  uint64 // drops reported to the device; guarded by reporting
}

// run delivers until stop is set or reading fails; then it calls ended.
func (d *drain) run(ended func()) {
	if d.err = d.loop(); d.err != nil {
		defer ended()
	}
	close(d.done)
}

func (d *drain) loop() error {
	defer d.finish()
	linked := !d.dev.Type().Ethernet()
	for !d.stop.Load() {
		b := d.queue.fresh(linked)
		err := d.read(b)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded): // stop has been set
		case errors.Is(err, unix.ENETDOWN): // returned once; packets arrive when the interface is up again
		default:
			return err
		}
		if b.n > 0 {
			d.deliver(b)
		} else {
			d.queue.spare = append(d.queue.spare, b)
		}
		if d.queue.late > 0 {
			d.catchUp(false)
		}
	}
	return nil
}

// read reads a batch. It waits for one unless a reader is late.
func (d *drain) read(b *batch) (err error) {
	b.n = 0
	if q := &d.queue; q.late > 0 && (q.alone || !d.handle.Ready()) {
		d.sleep()
		return nil
	}
	b.n, err = d.handle.ReadBatch(context.Background(), b.frames[:])
	return err
}

// sleep waits until a reader may have released a slot.
func (d *drain) sleep() {
	start := time.Now()
	unix.Nanosleep(&unix.Timespec{Nsec: int64(nap)}, nil) // time.Sleep sleeps a millisecond or nothing
	d.waited.Add(int64(time.Since(start)))
}

// deliver delivers the packets of b, in place, to the receivers with room for them. When all
// receivers have them, their memory is released to the kernel.
func (d *drain) deliver(b *batch) {
	var cut uint64
	for i := range b.n {
		if b.load(i) {
			cut++
		}
	}
	if cut > 0 {
		d.cut.Add(cut)
	}
	d.handOut(b)
	if d.batches++; d.batches%reportEvery == 0 {
		d.reportLost()
	}
}

// handOut delivers a batch whose packets are loaded.
func (d *drain) handOut(b *batch) {
	q := &d.queue
	q.push(b)
	ps := b.packets[:b.n]
	if q.late == 0 && d.dev.HasRoom(b.n) {
		q.restart()
		d.inPieces(b.first, ps, d.deliverAt)
	} else {
		q.updateReceivers(d.dev)
		q.weigh(b)
		b.read = time.Now()
		q.split(b)
		d.inPieces(b.first, ps, func(at rxring.Moment, ps []rxring.Packet) { d.dev.DeliverBatchTo(q.prompt, at, ps) })
	}
	d.release()
}

func (d *drain) deliverAt(at rxring.Moment, ps []rxring.Packet) {
	if at == latest {
		d.dev.DeliverBatch(ps)
	} else {
		d.dev.DeliverBatchAt(at, ps)
	}
}

// catchUp delivers to late receivers the packets that they have room for; at the end, all.
func (d *drain) catchUp(end bool) {
	q := &d.queue
	q.updateReceivers(d.dev)
	clock := time.Now()
	for to, r := range q.readers {
		for r.late {
			b, at := q.batchOf(r.next)
			n := b.n - at
			if !end {
				n = q.grant(to, r, b, n, clock)
			}
			if n == 0 {
				break
			}
			d.inPieces(r.next, b.packets[at:at+n], func(m rxring.Moment, ps []rxring.Packet) { d.dev.DeliverLate(to, m, ps) })
			if r.next += uint64(n); r.next == q.read {
				r.late = false
				q.late--
			}
		}
	}
	d.release()
}

// release releases the batches that all receivers have.
func (d *drain) release() {
	got := d.queue.delivered()
	d.packets.Store(got) // pairs with the loads in wait and mark
	d.queue.release(got)
}

// finish delivers the rest to late receivers, whether they have room or not.
func (d *drain) finish() {
	if d.queue.late > 0 {
		d.catchUp(true)
	}
}

// close ends the drain, then closes its ring: in this order, since closing changes the ring's
// memory.
func (d *drain) close() {
	d.stop.Store(true)
	d.handle.SetDeadline(time.Unix(1, 0)) // wakes it
	<-d.done
	d.handle.Close()
	d.giveUp()
}

// addTo adds d's counts to s.
func (d *drain) addTo(s *Stats) {
	s.Packets += d.packets.Load()
	s.Waited += time.Duration(d.waited.Load())
	s.Cut += d.cut.Load()
	kernel, _ := d.handle.Stats() // the last counts, if it is closed
	s.Drops += kernel.Drops
	s.Freezes += kernel.Freezes
}
