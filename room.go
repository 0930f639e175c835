package rxring

import (
	"context"
	"iter"
	"time"

	"github.com/rxring/rxring/internal/writer"
)

// RoomFor says for how many packets, n at most, all sockets that look at the device have
// room: the least of their [Socket.RoomFor]. A source that can wait, such as a file, asks
// it before it delivers.
func (d *Device) RoomFor(n int) int {
	for s := range d.readers {
		n = s.RoomFor(n)
	}
	return n
}

// HasRoom reports whether all sockets that look at the device have room for n packets, by
// [Socket.HasRoom].
func (d *Device) HasRoom(n int) bool {
	for s := range d.readers {
		if !s.HasRoom(n) {
			return false
		}
	}
	return true
}

// Sockets iterates over the sockets that would be offered a packet now, the members of
// fanout groups among them, but for those that nobody holds ([Socket.SetHeld]). A socket
// may be closed meanwhile.
func (d *Device) Sockets() iter.Seq[*Socket] { return d.readers }

// drainEvery is how often Drain looks: nobody tells when a reader hands a slot back.
const drainEvery = time.Millisecond

// drainUnread is how long Drain waits for a socket that has not been read at all.
const drainUnread = 3 * time.Second

// Drain hands over what lies in blocks that are not full yet, and waits until all
// readers have read what there was; for a socket that nobody has read yet, 3 s. It is
// for a source that has come to its end: a device that is removed at once takes packets
// with it that nobody has read. The error is ctx's.
func (d *Device) Drain(ctx context.Context) error {
	t := time.NewTicker(drainEvery)
	defer t.Stop()
	start := time.Now()
	for {
		drained := true
		for s := range d.readers {
			if !s.isDrained() && (time.Since(start) < drainUnread || s.HasRead()) {
				drained = false
			}
		}
		if drained {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// readers are the sockets that see the device's packets, alone or in a group, and that
// somebody holds.
func (d *Device) readers(yield func(*Socket) bool) {
	for s := range d.attached {
		if !s.unheld.Load() && !yield(s) {
			return
		}
	}
}

// SetHeld says whether anybody holds the socket, as far as the caller can see; at first,
// yes. A socket that nobody holds gets packets as before, but sources neither count nor
// wait for it: see [Device.Sockets].
func (s *Socket) SetHeld(held bool) { s.unheld.Store(!held) }

// attached are the sockets that see the device's packets, alone or in a group.
func (d *Device) attached(yield func(*Socket) bool) {
	taps := d.taps.Load()
	if taps == nil {
		return
	}
	for _, t := range *taps {
		if !t.sockets(yield) {
			return
		}
	}
}

// HasRead reports whether the socket's reader has read a packet: received one from the
// queue, or handed back a slot or block of the present ring. A source that waits for
// room tells by it a slow reader from a socket that nobody reads.
func (s *Socket) HasRead() bool {
	rx := s.rx.Load() // pairs with the store in Socket.publishLocked
	switch {
	case rx.ring != nil:
		return rx.ring.HandedBack()
	case rx.blocks != nil:
		return rx.blocks.HandedBack()
	}
	return s.queue.hasRead()
}

// RoomFor says for how many packets, n at most, the socket's ring or queue is sure to have
// room while nobody else delivers to it: of a ring of slots a number of free slots, though
// maybe not of all; of blocks how many are free, since a block's timer may close it behind
// each packet; of a queue, which may get large segments, 1 unless it is large and has much
// room.
func (s *Socket) RoomFor(n int) int {
	rx := s.rx.Load() // pairs with the store in Socket.publishLocked
	switch {
	case rx.ring != nil:
		for n = min(n, int(rx.ring.Geometry().FrameNr)); n > 0 && !rx.ring.Free(uint32(n-1)); {
			n /= 2
		}
		return n
	case rx.blocks != nil:
		return rx.blocks.RoomFor(n)
	}
	switch held, limit := s.queue.held.Load(), s.queue.limit.Load(); {
	case held >= limit:
		return 0
	case held > limit/4 || limit < largeQueue:
		return min(n, 1)
	}
	return n
}

// largeQueue is what the longest packets of an IP network, in an allocation of twice their
// size, fill, in bytes.
const largeQueue = 128 << 10

// HasRoom reports whether the socket's ring or queue has room for n packets in all
// likelihood: as many free slots, a quarter of the blocks (as in __tpacket_v3_has_room),
// three quarters of the queue.
func (s *Socket) HasRoom(n int) bool {
	rx := s.rx.Load() // pairs with the store in Socket.publishLocked
	if rx.blocks != nil {
		g := rx.blocks.Geometry()
		return rx.blocks.Free(min(max(g.BlockNr/4, 1), g.BlockNr-1))
	}
	if rx.ring != nil {
		return s.RoomFor(n) == n
	}
	return s.queue.held.Load() <= s.queue.limit.Load()/4
}

func (s *Socket) isDrained() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.length.Load() > 0 {
		return false
	}
	switch r := s.ring.(type) {
	case *writer.Ring:
		return r.Free(r.Geometry().FrameNr - 1) // the slot before head: the latest packet's
	case *writer.Blocks:
		r.Expire()
		return !r.Readable() && r.Free(0)
	}
	return true
}
