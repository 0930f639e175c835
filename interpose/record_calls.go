//go:build linux && (amd64 || arm64)

package interpose

import (
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/procfs"
)

// The calls that records depend on. Nearly all run natively. We cannot see whether a
// native call succeeds, so a record changes only where that is known before.

// changeIdentity serves the calls after which a process may not be inspected.
func (c *call) changeIdentity() reply {
	c.s.recordBeforeChange(c.tid)
	return native
}

func (c *call) recordClose() reply {
	if r := c.s.records.of(c.tid); r != nil {
		delete(r.fds, c.int(0))
	}
	return native
}

func (c *call) recordCloseRange() reply {
	if r := c.s.records.of(c.tid); r != nil {
		r.closeRange(uint32(c.Args[0]), uint32(c.Args[1]), uint32(c.Args[2]))
	}
	return native
}

// closeRange does to a record what close_range does: nothing if that fails with EINVAL.
func (r *record) closeRange(first, last, flags uint32) {
	if first > last || flags&^(unix.CLOSE_RANGE_UNSHARE|unix.CLOSE_RANGE_CLOEXEC) != 0 {
		return
	}
	for fd, d := range r.fds {
		switch {
		case uint32(fd) < first || uint32(fd) > last:
		case flags&unix.CLOSE_RANGE_CLOEXEC != 0:
			d.cloexec = true
			r.fds[fd] = d
		default:
			delete(r.fds, fd)
		}
	}
}

func (c *call) recordDup() reply {
	if r := c.s.records.of(c.tid); r != nil {
		return c.dup(r, false)
	}
	return native
}

func (c *call) recordDup2() reply {
	if r := c.s.records.of(c.tid); r != nil {
		return c.dupTo(r, 0)
	}
	return native
}

func (c *call) recordDup3() reply {
	if r := c.s.records.of(c.tid); r != nil {
		return c.dupTo(r, uint32(c.Args[2]))
	}
	return native
}

// recordFcntl serves F_DUPFD, F_DUPFD_CLOEXEC and F_SETFD.
func (c *call) recordFcntl() reply {
	r := c.s.records.of(c.tid)
	if r == nil {
		return native
	}
	d, ours := r.fds[c.int(0)]
	switch {
	case !ours:
		return native
	case c.int(1) == unix.F_SETFD:
		d.cloexec = c.Args[2]&unix.FD_CLOEXEC != 0
		r.fds[c.int(0)] = d
		return native
	case uint32(c.Args[2]) > maxLowest:
		// The kernel chooses the lowest free number, and we cannot ask it for another.
		return fail(unix.EMFILE)
	}
	return c.dup(r, c.int(1) == unix.F_DUPFD_CLOEXEC)
}

// maxLowest is the greatest lower bound that F_DUPFD accepts for a socket of a process
// with a record. Programs ask for 3, to spare the standard descriptors.
const maxLowest = 3

// dup duplicates what is at the call's first argument to the lowest free number. We
// learn that number only by putting the descriptor there ourselves.
func (c *call) dup(r *record, cloexec bool) reply {
	d, ours := r.fds[c.int(0)]
	end, ok := c.s.endOf(d)
	if !ours || !ok {
		return native
	}
	fd, err := c.s.l.ReturnFD(c.ID, end, cloexec)
	if err != nil {
		return result(err)
	}
	c.recordSocket(fd, d.inode, cloexec)
	return answered
}

// dupTo serves dup2 and dup3.
func (c *call) dupTo(r *record, flags uint32) reply {
	from, to := c.int(0), c.int(1)
	if from == to || flags&^unix.O_CLOEXEC != 0 { // does nothing, or fails
		return native
	}
	if d, ours := r.fds[from]; ours {
		if end, ok := c.s.endOf(d); ok {
			return c.replaceAt(to, end, descriptor{inode: d.inode, cloexec: flags != 0})
		}
	}
	old, ours := r.fds[to]
	if !ours || !procfs.IsOpen(c.tid, from) {
		return native
	}
	// Linux may refuse the number, if RLIMIT_NOFILE was lowered since. Putting the socket
	// where it already is shows that.
	if end, ok := c.s.endOf(old); ok {
		if r := c.replaceAt(to, end, old); r.err != 0 {
			return r
		}
	}
	delete(r.fds, to)
	return native
}

// replaceAt has end, our duplicate of the socket d, replace what is at number to of
// the calling thread's process, as dup2 does. Linux checks the number against the
// process's RLIMIT_NOFILE: the errno is dup2's.
func (c *call) replaceAt(to int32, end int, d descriptor) reply {
	if err := c.s.l.Replace(c.ID, end, to, d.cloexec); err != nil {
		return result(err)
	}
	c.recordSocket(int(to), d.inode, d.cloexec)
	return value(int64(to))
}

// endOf is our duplicate of the program's end of a socket.
func (s *session) endOf(d descriptor) (int, bool) {
	if p := s.sockets.byInode[d.inode]; p != nil {
		return p.standIn, true
	}
	if r := s.rtnl.open[d.inode]; r != nil && r.held >= 0 {
		return r.held, true
	}
	return -1, false
}

// recordSocket records a socket of ours that was put into the calling thread's process.
func (c *call) recordSocket(fd int, inode uint64, cloexec bool) {
	c.s.records.numbers[int32(fd)] = true
	if r := c.s.records.of(c.tid); r != nil {
		r.fds[int32(fd)] = descriptor{inode: inode, cloexec: cloexec}
	}
}

// recordSwap records that the ring's memory is in the place of socket p at fd, or, if
// memfd is -1, that the socket is back. The socket keeps a duplicate of the memory, to
// read its O_NONBLOCK, which the program may change meanwhile.
func (c *call) recordSwap(fd int32, p *packetSocket, memfd int) {
	r := c.s.records.of(c.tid)
	if r == nil {
		return
	}
	d, ok := r.fds[fd]
	if !ok {
		return
	}
	p.closeMemfd()
	if d.ringOf = nil; memfd >= 0 {
		d.ringOf = p
		if dup, err := unix.FcntlInt(uintptr(memfd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			p.memfd = dup
		}
	}
	r.fds[fd] = d
}

func (p *packetSocket) closeMemfd() {
	if p.memfd >= 0 {
		unix.Close(p.memfd)
		p.memfd = -1
	}
}
