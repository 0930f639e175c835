package iface

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// A kernel ring hands over what came within a millisecond at once, or more after the
// drain had to wait for a processor; a reader's ring may be smaller: libpcap's default has
// 32 slots where segments can come. So a drain gives no more at once than there is room
// for, and waits a little for readers that are slower: the kernel's ring holds what comes
// meanwhile. Strict bounds see to it that no reader pays for another.
const (
	// maxAge bounds how late a packet gets to a reader for which nobody else waits, and
	// how long that is waited for without reading anything. A reader that writes to a
	// busy disk stands still for hundreds of milliseconds.
	maxAge = time.Second
	// maxShare is the part of its time that a drain waits at most, for all of several
	// readers together: one in maxShare.
	maxShare = 25
	// maxSaved bounds how long it waits for one of them in one go.
	maxSaved = time.Millisecond
	// nap is how long it sleeps before it looks again, in nanoseconds: nobody tells
	// when a slot is handed back. tcpdump reads 32 packets in about that time.
	nap = 50_000
)

// patience is what a drain grants its readers. It is its goroutine's own, but for waited.
type patience struct {
	readers map[*rxring.Socket]*credit
	late    []*credit // those waited for, reused
	turn    uint      // of look
	roomy   bool      // all had room since the last look

	waited atomic.Int64 // in all, in nanoseconds
}

// credit is how long a drain goes on waiting for a reader.
type credit struct {
	left    time.Duration // of the share, when others wait, too
	counted time.Time     // left is as of then
	since   time.Time     // when it last had room: it reads
	turn    uint
}

// room says how many of the next n packets, the first of which came at a time in
// nanoseconds since the Unix epoch, are to be delivered now: those that all readers have
// room for, once those that deserve it have been waited for.
func (p *patience) room(dev *rxring.Device, n int, stamp int64, stop *atomic.Bool) int {
	if dev.RoomFor(n) == n {
		p.roomy = true
		return n
	}
	for !stop.Load() {
		now := time.Now()
		if fit := p.look(dev, n, now, now.Sub(time.Unix(0, stamp)) < maxAge); fit > 0 {
			return fit
		}
		unix.Nanosleep(&unix.Timespec{Nsec: nap}, nil) // time.Sleep sleeps a millisecond or nothing
		p.spend(time.Since(now))
	}
	return n
}

// spend counts time that was waited for those that are late.
func (p *patience) spend(t time.Duration) {
	p.waited.Add(int64(t))
	for _, c := range p.late {
		c.left -= t
	}
}

// look says how many packets, n at most, those readers have room for that are worth
// waiting for, and keeps in late those that have too little.
func (p *patience) look(dev *rxring.Device, n int, now time.Time, fresh bool) (fit int) {
	if p.readers == nil {
		p.readers = make(map[*rxring.Socket]*credit)
	}
	p.turn++
	p.late = p.late[:0]
	all := time.Duration(0)
	for range dev.Sockets() {
		all++
	}
	fit = n
	for s := range dev.Sockets() {
		c := p.readers[s]
		if c == nil {
			c = &credit{counted: now, since: now}
			p.readers[s] = c
		}
		c.turn = p.turn
		room := s.RoomFor(n)
		if room > 0 || p.roomy {
			c.since = now
		}
		c.left = min(c.left+now.Sub(c.counted)/(maxShare*all), maxSaved)
		c.counted = now
		if room < n && fresh && now.Sub(c.since) < maxAge && (all == 1 || c.left > 0) {
			fit = min(fit, room)
			p.late = append(p.late, c)
		}
	}
	p.roomy = false
	for s, c := range p.readers {
		if c.turn != p.turn { // it is closed, or bound elsewhere
			delete(p.readers, s)
		}
	}
	return fit
}
