package rxring

import (
	"context"
	"iter"
	"time"

	"github.com/rxring/rxring/internal/writer"
)

// RoomFor returns for how many packets, at most n, all attached sockets have room: the least
// of their [Socket.RoomFor]. A source that can wait, such as a file, calls it before it
// delivers.
func (d *Device) RoomFor(n int) int {
	for s := range d.readers {
		n = s.RoomFor(n)
	}
	return n
}

// HasRoom reports whether all attached sockets have room for n packets, by [Socket.HasRoom].
func (d *Device) HasRoom(n int) bool {
	for s := range d.readers {
		if !s.HasRoom(n) {
			return false
		}
	}
	return true
}

// Sockets iterates over the sockets that would be offered a packet now, members of fanout
// groups included, except sockets without a known descriptor ([Socket.SetHeld]). A socket may
// be closed meanwhile.
func (d *Device) Sockets() iter.Seq[*Socket] { return d.readers }

// drainEvery is how often Drain polls: a reader that hands back a slot does not notify
// writers.
const drainEvery = time.Millisecond

// drainUnread is how long Drain waits for a socket that has not been read at all.
const drainUnread = 3 * time.Second

// Drain retires blocks that are not full yet, and waits until all readers have read their
// packets; at most 3 s for a socket that has never been read. A source calls it at its end:
// removing a device drops unread packets. The error is ctx's.
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

// readers iterates over the attached sockets that have a known descriptor.
func (d *Device) readers(yield func(*Socket) bool) {
	for s := range d.attached {
		if !s.unheld.Load() && !yield(s) {
			return
		}
	}
}

// SetHeld says whether the socket has a known descriptor; initially true. A socket without one
// receives packets as before, but sources neither count nor wait for it: see [Device.Sockets].
func (s *Socket) SetHeld(held bool) { s.unheld.Store(!held) }

// attached iterates over the sockets that receive the device's packets, alone or in a group.
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

// HasRead reports whether the socket's reader has read a packet: received one from the queue,
// or handed back a slot or block of the present ring. A source that waits for room
// distinguishes slow readers from sockets that are not read by it.
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

// RoomFor returns for how many packets, at most n, the socket's ring or queue certainly has
// room while no other writer delivers to it: of a ring of slots a number of free slots, though
// maybe not of all; of blocks how many are free, since a block's timer may close it after each
// packet; of a queue, which may get large segments, 1 unless it is large and mostly empty.
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
