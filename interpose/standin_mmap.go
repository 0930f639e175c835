//go:build linux && (amd64 || arm64)

package interpose

import (
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A packet socket's mmap maps its ring. The stand-in cannot be mapped, so for
// the time of the call the ring's memory takes its place in the descriptor
// table, and the kernel maps that. The next trapped call of whoever may hold
// such a descriptor puts the stand-in back.
//
// Attached, the packets are in the memory only when the other process knows that it is
// mapped, and from then on it cannot be mapped again. It is told at the thread's next
// trapped call, or soon after the mapping shows in /proc, whichever is first; an mmap of
// the same socket is not such a call, for a program that maps a ring twice in a row.

// swaps is what the session knows of memory in the place of stand-ins.
type swaps struct {
	count   uint64            // swaps made so far
	seen    map[uint32]uint64 // by thread: the count when it was last put right
	pending []swap
	untold  []swap // those whose mapping the socket is yet to be told of
}

func (w *swaps) forget(k *socket) {
	of := func(p swap) bool { return p.k == k }
	w.pending = slices.DeleteFunc(w.pending, of)
	w.untold = slices.DeleteFunc(w.untold, of)
}

// swap is an mmap that the kernel may not have run yet.
type swap struct {
	k    *socket
	tid  int
	tgid int
	fd   int32
	at   time.Time
}

// swapPatience is how long another thread leaves a swap alone whose mapping
// does not show: by then the mmap has failed.
const swapPatience = 100 * time.Millisecond

// mmap serves mmap of a packet socket with the checks of packet_mmap.
func (c *call) mmap() reply {
	fd := c.int(4)
	k, ok := c.socket(fd)
	if !ok || !c.valid() {
		return reply{}
	}
	pages := uint64(os.Getpagesize() - 1)
	size := (c.Args[1] + pages) &^ pages
	if c.Args[5] != 0 || size > math.MaxInt {
		return reply{kind: value, err: unix.EINVAL}
	}
	// Nobody has the rings mapped, or has them where the call may leave them.
	memfd, err := k.rx.Map(int(size))
	if err != nil {
		return result(err)
	}
	k.shares(memfd)
	// The program may change O_NONBLOCK while the memory is in place.
	k.swapped = nonblocking(k.end)
	unix.SetNonblock(memfd, k.swapped != 0)
	s := c.s
	if err := s.l.replace(c.ID, memfd, fd, s.flagsOf(c.tid, fd)&unix.O_CLOEXEC != 0); err != nil {
		return result(err)
	}
	c.replaced(fd, k, memfd)
	s.swaps.count++
	w := swap{k, c.tid, threadGroup(c.tid), fd, time.Now()}
	s.swaps.pending = append(s.swaps.pending, w)
	if s.cfg.At != nil {
		s.swaps.untold = append(s.swaps.untold, w)
	}
	return reply{}
}

// A mapping whose program makes no further call that is trapped, because it does not
// sleep, is looked for in /proc: from tellMappedAfter on, which leaves a program that
// maps a ring twice in a row the time to do so. After tellMappedFor the mmap is over,
// though its mapping may not show: /proc does not show those of every process to us.
const (
	tellMappedEvery = 100 * time.Millisecond
	tellMappedAfter = 500 * time.Millisecond
	tellMappedFor   = 10 * time.Second
)

// tellMapped tells sockets that their memory is mapped, where the calling thread's mmap
// is over, or, for a nil c, where the mapping shows. A thread whose mmap has failed says so, too:
// nothing comes of it, because the next mmap gets other memory.
func (s *session) tellMapped(c *call) {
	w := &s.swaps
	w.untold = slices.DeleteFunc(w.untold, func(p swap) bool {
		switch {
		case c != nil && (p.tid != c.tid || c.NR == unix.SYS_MMAP && c.int(4) == p.fd):
			return false
		case c == nil && time.Since(p.at) < tellMappedAfter:
			return false
		case c == nil && time.Since(p.at) < tellMappedFor && !p.shows():
			return false
		}
		if err := p.k.rx.Mapped(); err != nil && !s.detached() {
			s.cfg.logf("mmap of a packet socket: its ring gets no packets: %v", err)
		}
		return true
	})
}

// shows says whether the process has the socket's memory mapped, as far as can be seen.
func (p *swap) shows() bool {
	for f := range mappings(p.tgid) {
		if slices.Contains(p.k.memfds, f) {
			return true
		}
	}
	return false
}

// maxMemfds bounds the former memory that a socket remembers, to know it when a
// process still holds it.
const maxMemfds = 16

// shares remembers that the program may hold the memory at fd.
func (k *socket) shares(fd int) {
	f, err := fileOf(fd)
	if err != nil || slices.Contains(k.memfds, f) {
		return
	}
	k.memfds = append(k.memfds, f)
	k.s.byMemfd[f] = k
	if len(k.memfds) > maxMemfds {
		delete(k.s.byMemfd, k.memfds[0])
		k.memfds = k.memfds[1:]
	}
}

// unswap puts stand-ins back where the calling thread's descriptors hold ring
// memory: its own, once its mmap is done, those it duplicated since, and those
// it inherited.
func (s *session) unswap(c *call) {
	w := &s.swaps
	if len(w.untold) > 0 {
		s.tellMapped(c)
	}
	if w.seen[c.TID] == w.count {
		return
	}
	w.pending = slices.DeleteFunc(w.pending, func(p swap) bool {
		return p.tid == c.tid || time.Since(p.at) > swapPatience
	})
	complete := true
	s.descriptors(c.tid, func(fd int32, k *socket, swapped bool) {
		switch {
		case !swapped:
		case s.mmapUnderWay(c.tid, fd, k):
			complete = false
		case !s.putBack(c, fd, k):
			complete = false
		}
	})
	if complete {
		if len(w.seen) >= 4096 {
			clear(w.seen) // of threads long gone, nearly all
		}
		w.seen[c.TID] = w.count
	}
}

// mmapUnderWay says whether another thread of the same process may be about to
// map what is at fd.
func (s *session) mmapUnderWay(tid int, fd int32, k *socket) bool {
	for i, p := range s.swaps.pending {
		if p.k != k || p.fd != fd || p.tgid != threadGroup(tid) {
			continue
		}
		for f := range mappings(tid) {
			if slices.Contains(k.memfds, f) {
				s.swaps.pending = slices.Delete(s.swaps.pending, i, i+1)
				return false
			}
		}
		return true
	}
	return false
}

func (s *session) putBack(c *call, fd int32, k *socket) bool {
	flags := s.flagsOf(c.tid, fd)
	if !c.valid() {
		return false
	}
	if now := flags & unix.O_NONBLOCK; now != k.swapped {
		unix.SetNonblock(k.end, now != 0)
		k.swapped = now
	}
	if s.l.replace(c.ID, k.end, fd, flags&unix.O_CLOEXEC != 0) != nil {
		return false
	}
	c.woken = true
	c.replaced(fd, k, -1)
	return true
}

// memoryMapped says whether a process of the session has a ring's memory mapped.
func (s *session) memoryMapped(memfd int) bool {
	f, err := fileOf(memfd)
	return err == nil && s.mapped(f)
}

// mapped says whether a process of the session has one of the memories
// mapped.
func (s *session) mapped(memfds ...file) bool {
	if len(memfds) == 0 {
		return false
	}
	for _, pid := range descendants(s.root) {
		for f := range mappings(pid) {
			if slices.Contains(memfds, f) {
				return true
			}
		}
	}
	return false
}
