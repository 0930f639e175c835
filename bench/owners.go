package bench

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring/internal/ownership"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Writers are the numbers of writers that share a ring.
var Writers = []int{1, 2, 4, 8}

// owners measures an ownership design: writers on one ring that never pause, each acquiring a slot,
// filling it and releasing it.
//
// The result is how many packets the ring accepts per second. That depends on the reader as much as on
// the design, so the reader must be the same for all designs and numbers of writers, and the writers
// must never wait for it. A reading goroutine fails on both: on few cores it competes with the writers,
// runs less the more of them there are, and while it does not run the writers measure how fast a full
// ring refuses packets. Writers that take turns as the reader, behind a lock, are no better: one that is
// preempted with the lock held stops the ring for a scheduler's time slice, and so does one that is
// preempted between releasing a slot and handing it back.
//
// So the reader is an ideal one, which reads a packet and hands the slot back at once: Release stores
// KERNEL instead of USER. For the writers that is the same store. The ring is then never full, and a
// packet is dropped only by the design: because the writer of the head slot has not finished, usually
// because it was preempted while copying and the others have wrapped around the ring. A reader that
// reads in order would stop at the same slot.
//
// This is the worst case for a second writer, and not how a ring is used: a single writer without a
// reader keeps head, sequence words and slots in its own cache, and a second writer takes them away.
// Beside a reader it fetches each slot from the reader's core anyway: see [bareBurst].
//
// Unsafe designs look best here: what they accept includes packets that two writers have torn.
//
// A writer that continues at once after a drop has millions more packets dropped while the slot's owner
// waits for a core. With yield it lets others run first.
func owners(d ownership.Design, writers, size int, yield bool, budget time.Duration) (s Sample, err error) {
	r, err := openRing(d, ringRequest(size))
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()

	warm := &ownerWriter{ring: r, packet: packet(size), status: tpacket.StatusKernel, yield: yield}
	warm.offer(lapOf(size))
	runtime.GC()

	all := make([]*ownerWriter, writers)
	for i := range all {
		all[i] = &ownerWriter{ring: r, packet: packet(size), status: tpacket.StatusKernel, yield: yield}
	}
	mallocs := mallocs()
	s.Elapsed = together(writers, budget, func(i int) { all[i].offer(32) })
	s.Mallocs = mallocs()

	offered, accepted := warm.offered, warm.accepted
	for _, w := range all {
		offered += w.offered
		accepted += w.accepted
		s.Offered += w.offered
		s.Accepted += w.accepted
	}
	// The ring counts for itself how often it was acquired.
	if accepted != r.Captured() || warm.accepted != uint64(lapOf(size)) {
		return Sample{}, fmt.Errorf("%v: writers say %d accepted, the ring %d, of %d; %d of %d alone: want the same", d, accepted, r.Captured(), offered, warm.accepted, lapOf(size))
	}
	return s, checkSlots(r, warm.packet, d)
}

// openRing makes a V2 ring of a design.
func openRing(d ownership.Design, request tpacket.Req) (*ownership.Ring, error) {
	g, err := geometry(request)
	if err != nil {
		return nil, err
	}
	m, err := ringmem.New(g.Size())
	if err != nil {
		return nil, err
	}
	r, err := ownership.New(m, g, d)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return r, nil
}

// checkSlots looks whether every slot holds the packet and is free. All writers
// write the same bytes: this finds a ring without packets, not a torn one.
func checkSlots(r *ownership.Ring, want []byte, d ownership.Design) error {
	for slot := range r.Geometry().FrameNr {
		f := r.Frame(slot)
		h := tpacket.Header2At(f)
		if h.Status != tpacket.StatusKernel || int(h.Snaplen) != len(want) || string(f[macOffset:][:len(want)]) != string(want) {
			return fmt.Errorf("%v: slot %d has status %d and %d bytes: want it free, with the packet of %d bytes in it", d, slot, h.Status, h.Snaplen, len(want))
		}
	}
	return nil
}

// ownerWriter is one writer.
type ownerWriter struct {
	ring              *ownership.Ring
	packet            []byte
	status            uint32 // of the slots that it releases
	yield             bool   // after a drop
	offered, accepted uint64
	_                 [64]byte // writers count all the time, each on lines of its own
}

func (w *ownerWriter) offer(n int) {
	accepted := uint64(0)
	for range n {
		slot, v := w.ring.Acquire()
		if v != ring.Acquired {
			if w.yield {
				runtime.Gosched()
			}
			continue
		}
		f := w.ring.Frame(slot)
		copy(f[macOffset:], w.packet)
		h := tpacket.Header2At(f)
		h.Len, h.Snaplen = uint32(len(w.packet)), uint32(len(w.packet))
		h.Mac, h.Net = uint16(macOffset), uint16(macOffset+macLen)
		w.ring.Release(slot, w.status)
		accepted++
	}
	w.offered += uint64(n)
	w.accepted += accepted
}

// deliverers measures the whole path with writers on one device and readers of
// rxring's own, each on its own goroutine, as a program would have it: here they
// are part of what is measured. With fanout, each writer is another CPU.
func deliverers(writers, size, fanout int, budget time.Duration) (s Sample, err error) {
	opened, err := openDeliver(size, deliverConfig{reader: true, fanout: fanout})
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, opened.close()) }()
	d := opened.(*deliver)
	d.send(lapOf(size))
	runtime.GC()
	before, err := d.settle()
	if err != nil {
		return Sample{}, err
	}

	offered := make([]struct {
		n uint64
		_ [64]byte
	}, writers)
	mallocs := mallocs()
	s.Elapsed = together(writers, budget, func(i int) {
		d.sendOn(i, 32)
		offered[i].n += 32
	})
	s.Mallocs = mallocs()
	for i := range offered {
		s.Offered += offered[i].n
	}
	t, err := d.settle()
	if err != nil {
		return Sample{}, err
	}
	s.Accepted = t.accepted - before.accepted
	return s, t.check(s.Offered+uint64(lapOf(size)), uint64(size))
}

// together runs turn(0), turn(1), ..., turn(n-1), each again and again on a
// goroutine of its own, for about budget, and says how long it was.
func together(n int, budget time.Duration, turn func(i int)) time.Duration {
	var stop atomic.Bool
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			for !stop.Load() {
				turn(i)
			}
		})
	}
	timer := time.AfterFunc(budget, func() { stop.Store(true) })
	defer timer.Stop()
	began := time.Now()
	close(start)
	wg.Wait()
	return time.Since(began)
}
