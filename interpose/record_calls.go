//go:build linux && (amd64 || arm64)

package interpose

import (
	"slices"

	"golang.org/x/sys/unix"
)

// identityCalls are those after which a process may not be inspected any more.
var identityCalls = []uint32{
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID,
	unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_SETFSUID, unix.SYS_SETFSGID,
	unix.SYS_PRCTL, // PR_SET_DUMPABLE
}

// numberCalls change what is at a descriptor number.
var numberCalls = append([]uint32{
	unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_FCNTL,
}, archDups...)

// recordRules traps what records depend on.
func recordRules() []rule {
	var rs []rule
	for _, nr := range slices.Concat(identityCalls, numberCalls) {
		r := rule{nr: nr}
		switch nr {
		case unix.SYS_PRCTL:
			r.all = dumpable
		case unix.SYS_FCNTL:
			r.all = []condition{{1, 0, []uint32{unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_SETFD}}}
		}
		rs = append(rs, r)
	}
	return rs
}

// keepUserRules has identityCalls, and setgroups, do nothing.
func keepUserRules() []rule {
	rs := []rule{{nr: unix.SYS_SETGROUPS, idle: true}}
	for _, nr := range identityCalls {
		r := rule{nr: nr, idle: true}
		if nr == unix.SYS_PRCTL {
			r.all = dumpable
		}
		rs = append(rs, r)
	}
	return rs
}

// dumpable is the condition for prctl(PR_SET_DUMPABLE).
var dumpable = []condition{{0, 0, []uint32{unix.PR_SET_DUMPABLE}}}

// recorded serves the calls of recordRules. Nearly all run natively.
func (c *call) recorded() (answer reply, ok bool) {
	switch {
	case slices.Contains(identityCalls, uint32(c.NR)):
		c.s.keep(c.tid)
		return reply{}, true
	case !slices.Contains(numberCalls, uint32(c.NR)):
		return reply{}, false
	}
	r := c.s.record(c.tid)
	if r == nil {
		return reply{}, true
	}
	c.s.unswap(c)
	fd := c.int(0)
	switch c.NR {
	case unix.SYS_CLOSE:
		delete(r.fds, fd)
	case unix.SYS_CLOSE_RANGE:
		r.closeRange(uint32(c.Args[0]), uint32(c.Args[1]), uint32(c.Args[2]))
	case unix.SYS_DUP:
		return c.dup(r, false), true
	case unix.SYS_FCNTL:
		return c.fcntl(r), true
	case unix.SYS_DUP3:
		return c.dupTo(r, uint32(c.Args[2])), true
	default: // dup2
		return c.dupTo(r, 0), true
	}
	return reply{}, true
}

// closeRange is close_range's effect on a record: none if the call will fail with EINVAL.
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

// fcntl serves fcntl's F_DUPFD, F_DUPFD_CLOEXEC and F_SETFD.
func (c *call) fcntl(r *record) reply {
	d, ours := r.fds[c.int(0)]
	switch {
	case !ours:
		return reply{}
	case c.int(1) == unix.F_SETFD:
		d.cloexec = c.Args[2]&unix.FD_CLOEXEC != 0
		r.fds[c.int(0)] = d
		return reply{}
	case uint32(c.Args[2]) > maxLowest:
		// The kernel chooses the lowest number that is free, and cannot be asked for another.
		return reply{kind: value, err: unix.EMFILE}
	}
	return c.dup(r, c.int(1) == unix.F_DUPFD_CLOEXEC)
}

// maxLowest is the least number that F_DUPFD may insist on for a socket of a process
// with a record: programs insist on 3, to spare the standard descriptors.
const maxLowest = 3

// dup duplicates what is at the call's first argument to the lowest free number,
// which we learn only by putting it there ourselves.
func (c *call) dup(r *record, cloexec bool) reply {
	d, ours := r.fds[c.int(0)]
	end, ok := c.s.endOf(d)
	if !ours || !ok {
		return reply{}
	}
	fd, err := c.s.l.inject(c.ID, end, cloexec)
	if err != nil {
		return result(err)
	}
	c.injected(fd, d.inode, cloexec)
	return reply{kind: done}
}

// dupTo is for dup2 and dup3. Whether a call that runs natively succeeds is not ours to
// see, so the record changes only where that is known before.
func (c *call) dupTo(r *record, flags uint32) reply {
	from, to := c.int(0), c.int(1)
	if from == to || flags&^unix.O_CLOEXEC != 0 { // does nothing, or fails
		return reply{}
	}
	if d, ours := r.fds[from]; ours {
		if end, ok := c.s.endOf(d); ok {
			return c.put(end, descriptor{inode: d.inode, cloexec: flags != 0}, to)
		}
	}
	old, ours := r.fds[to]
	if !ours || !c.mayBeOpen(from) {
		return reply{}
	}
	// The number itself may be refused, if RLIMIT_NOFILE was lowered since. Putting the
	// socket where it is tells.
	if end, ok := c.s.endOf(old); ok {
		if answer := c.put(end, old, to); answer.err != 0 {
			return answer
		}
	}
	delete(r.fds, to)
	return reply{}
}

// put has end, our duplicate of the socket d, replace what is at the number to of the
// calling thread's process, as dup2 does. Linux checks the number against the
// process's RLIMIT_NOFILE: the errno is dup2's.
func (c *call) put(end int, d descriptor, to int32) reply {
	if err := c.s.l.replace(c.ID, end, to, d.cloexec); err != nil {
		return result(err)
	}
	c.injected(int(to), d.inode, d.cloexec)
	return reply{kind: value, val: int64(to)}
}

// mayBeOpen reports whether there is something at a descriptor number of the calling
// thread. That a number is in use can be seen even where what is there cannot; if
// not, it may be.
func (c *call) mayBeOpen(fd int32) bool {
	var st unix.Stat_t
	return unix.Lstat(procPath(c.tid, "fd", fd), &st) != unix.ENOENT
}

// endOf is our duplicate of the program's end of a socket.
func (s *session) endOf(d descriptor) (int, bool) {
	if k := s.byInode[d.inode]; k != nil {
		return k.end, true
	}
	if r := s.rtnls[d.inode]; r != nil && r.held >= 0 {
		return r.held, true
	}
	return -1, false
}

// injected notes a socket of ours that was put into the calling thread's process.
func (c *call) injected(fd int, inode uint64, cloexec bool) {
	c.s.numbers[int32(fd)] = true
	if r := c.s.record(c.tid); r != nil {
		r.fds[int32(fd)] = descriptor{inode: inode, cloexec: cloexec}
	}
}

// replaced notes that the ring's memory is in the place of the socket k at fd, or,
// -1, that the socket is back. The record has a duplicate of it, to ask for its
// O_NONBLOCK, which the program may change meanwhile.
func (c *call) replaced(fd int32, k *socket, memory int) {
	r := c.s.record(c.tid)
	if r == nil {
		return
	}
	d, ok := r.fds[fd]
	if !ok {
		return
	}
	k.forgetMemory()
	if d.memory = nil; memory >= 0 {
		d.memory = k
		k.keepMemory(memory)
	}
	r.fds[fd] = d
}

// keepMemory keeps a duplicate of the ring's memory that was put into a process with
// a record.
func (k *socket) keepMemory(fd int) {
	if dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
		k.memory = dup
	}
}

func (k *socket) forgetMemory() {
	if k.memory >= 0 {
		unix.Close(k.memory)
		k.memory = -1
	}
}
