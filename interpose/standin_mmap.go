//go:build linux && (amd64 || arm64)

package interpose

import (
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/procfs"
)

// mmap of a packet socket maps its ring. The stand-in cannot be mapped, so during the
// call the ring's memory takes its place in the descriptor table, and the kernel maps
// that: the two are swapped. The next trapped call of a thread that may have such a
// descriptor puts the stand-in back.
//
// The server of an attached socket moves the ring into the memory once we report that the
// program has mapped it; from then on it cannot be mapped again. We report it at the
// thread's next trapped call, or soon after the mapping shows in /proc, whichever is first.
// Another mmap of the same socket is not such a call, so that a program may map a ring twice
// in a row.

// swaps is the session's state of swapped descriptors.
type swaps struct {
	count      uint64            // swaps so far
	seen       map[uint32]uint64 // by thread: the count when its descriptors were last checked
	pending    []swap
	unreported []swap // those whose mapping the other process does not know of
}

func (w *swaps) forget(p *packetSocket) {
	of := func(sw swap) bool { return sw.p == p }
	w.pending = slices.DeleteFunc(w.pending, of)
	w.unreported = slices.DeleteFunc(w.unreported, of)
}

// swap is an mmap that the kernel may not have run yet.
type swap struct {
	p    *packetSocket
	tid  int
	tgid int
	fd   int32
	at   time.Time
}

// swapPatience is how long other threads of the process leave a swap alone whose
// mapping does not show. After that the mmap has failed.
const swapPatience = 100 * time.Millisecond

// mmap serves mmap with the checks of packet_mmap.
func (c *call) mmap(p *packetSocket) reply {
	fd := c.int(4)
	pages := uint64(os.Getpagesize() - 1)
	size := (c.Args[1] + pages) &^ pages
	if c.Args[5] != 0 || size > math.MaxInt {
		return fail(unix.EINVAL)
	}
	if !c.valid() {
		return native
	}
	// If a process has the rings mapped, Map leaves them where they are, or refuses.
	memfd, err := p.backend.Map(int(size))
	if err != nil {
		return result(err)
	}
	p.addMemfd(memfd)
	// The program may change O_NONBLOCK while the memory is in place.
	p.nonblock = nonblocking(p.standIn)
	unix.SetNonblock(memfd, p.nonblock != 0)
	s := c.s
	if err := s.l.Replace(c.ID, memfd, fd, s.flagsOf(c.tid, fd)&unix.O_CLOEXEC != 0); err != nil {
		return result(err)
	}
	c.recordSwap(fd, p, memfd)
	s.swaps.count++
	w := swap{p, c.tid, procfs.ThreadGroup(c.tid), fd, time.Now()}
	s.swaps.pending = append(s.swaps.pending, w)
	if s.cfg.At != nil {
		s.swaps.unreported = append(s.swaps.unreported, w)
	}
	return native
}

// A program that does not sleep may make no further trapped call. Its mapping is looked
// for in /proc, first after reportAfter, which leaves a program that maps a ring
// twice in a row the time to do so. After reportFor the mmap has ended even if its
// mapping does not show: we may not see those of every process.
const (
	reportEvery = 100 * time.Millisecond
	reportAfter = 500 * time.Millisecond
	reportFor   = 10 * time.Second
)

// reportMapped reports memory that is mapped to the other process: that of mmaps which the
// thread of c has finished, or, for a nil c, of those whose mapping shows. It also reports
// an mmap that failed, which does no harm: the next mmap gets other memory.
func (s *session) reportMapped(c *call) {
	w := &s.swaps
	w.unreported = slices.DeleteFunc(w.unreported, func(sw swap) bool {
		switch {
		case c != nil && (sw.tid != c.tid || c.NR == unix.SYS_MMAP && c.int(4) == sw.fd):
			return false
		case c == nil && time.Since(sw.at) < reportAfter:
			return false
		case c == nil && time.Since(sw.at) < reportFor && !sw.shows():
			return false
		}
		if err := sw.p.backend.Mapped(); err != nil && !s.detached() {
			s.warnf("mmap of a packet socket: its ring gets no packets: %v", err)
		}
		return true
	})
}

// shows reports whether the process has the socket's memory mapped, as far as we may
// see.
func (sw *swap) shows() bool {
	for f := range procfs.Mappings(sw.tgid) {
		if slices.Contains(sw.p.memfds, f) {
			return true
		}
	}
	return false
}

// maxMemfds bounds the former memory that a socket remembers, to recognize it when a
// process still holds it.
const maxMemfds = 16

// addMemfd notes that the program may hold the memory at fd.
func (p *packetSocket) addMemfd(fd int) {
	f, err := procfs.FileOf(fd)
	if err != nil || slices.Contains(p.memfds, f) {
		return
	}
	p.memfds = append(p.memfds, f)
	p.s.sockets.byMemfd[f] = p
	if len(p.memfds) > maxMemfds {
		delete(p.s.sockets.byMemfd, p.memfds[0])
		p.memfds = p.memfds[1:]
	}
}

// putStandInsBack puts stand-ins back where the calling thread's descriptors are ring
// memory: those of its own mmap, which has returned, those that it duplicated since, and
// those that it inherited.
func (c *call) putStandInsBack() {
	s, w := c.s, &c.s.swaps
	if len(s.sockets.open) == 0 {
		return
	}
	if len(w.unreported) > 0 {
		s.reportMapped(c)
	}
	if w.seen[c.TID] == w.count {
		return
	}
	w.pending = slices.DeleteFunc(w.pending, func(sw swap) bool {
		return sw.tid == c.tid || time.Since(sw.at) > swapPatience
	})
	complete := true
	s.packetSocketsOf(c.tid, func(fd int32, p *packetSocket, swapped bool) {
		if swapped && (s.mmapUnderWay(c.tid, fd, p) || !c.putBack(fd, p)) {
			complete = false
		}
	})
	if complete {
		if len(w.seen) >= maxSeen {
			clear(w.seen) // nearly all are of threads that ended long ago
		}
		w.seen[c.TID] = w.count
	}
}

const maxSeen = 4096

// mmapUnderWay reports whether another thread of the same process may be about to map
// what is at fd.
func (s *session) mmapUnderWay(tid int, fd int32, p *packetSocket) bool {
	for i, sw := range s.swaps.pending {
		if sw.p != p || sw.fd != fd || sw.tgid != procfs.ThreadGroup(tid) {
			continue
		}
		if sw.shows() {
			s.swaps.pending = slices.Delete(s.swaps.pending, i, i+1)
			return false
		}
		return true
	}
	return false
}

// putBack puts the stand-in of p back at fd.
func (c *call) putBack(fd int32, p *packetSocket) bool {
	flags := c.s.flagsOf(c.tid, fd)
	if !c.valid() {
		return false
	}
	if now := flags & unix.O_NONBLOCK; now != p.nonblock {
		unix.SetNonblock(p.standIn, now != 0)
		p.nonblock = now
	}
	if c.s.l.Replace(c.ID, p.standIn, fd, flags&unix.O_CLOEXEC != 0) != nil {
		return false
	}
	c.wokenByUs = true
	c.recordSwap(fd, p, -1)
	return true
}

// memoryMapped reports whether a process of the session has a ring's memory mapped.
func (s *session) memoryMapped(memfd int) bool {
	f, err := procfs.FileOf(memfd)
	if err != nil {
		return false
	}
	for _, pid := range procfs.Descendants(s.root) {
		for m := range procfs.Mappings(pid) {
			if m == f {
				return true
			}
		}
	}
	return false
}
