//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/ring"
)

// socket finds the packet socket behind a descriptor of the calling thread.
// /proc says what a descriptor is: nothing needs to be kept about dup, fork,
// exec, close or descriptors passed on, and nothing can be forged.
func (c *call) socket(fd int32) (*socket, bool) {
	if fd < 0 {
		return nil, false
	}
	d, err := c.at(fd)
	if err != nil {
		return nil, false
	}
	k, _ := c.s.socketOf(d)
	if k != nil {
		k.seen(c.tid, fd)
	}
	return k, k != nil
}

// socketOf is the packet socket that d is, or whose ring's memory it is.
func (s *session) socketOf(d descriptor) (k *socket, swapped bool) {
	if d.memory != nil {
		return d.memory, true
	}
	return s.byInode[d.inode], false
}

// errNotOurs says that what is at a descriptor is not ours, and no more.
var errNotOurs = errors.New("not a socket of ours")

// at finds out what is at a descriptor of a thread: from /proc, or, where that is
// not for us to read, from the record of its process.
func (s *session) at(tid int, fd int32) (descriptor, error) {
	d, err := inspect(tid, fd, s.byMemfd)
	if !denied(err) {
		return d, err
	}
	if r := s.record(tid); r != nil {
		if d, ok := r.fds[fd]; ok {
			return d, nil
		}
		return descriptor{}, errNotOurs
	}
	if s.asUser(tid, func() (err error) { d, err = inspect(tid, fd, s.byMemfd); return err }) == nil {
		return d, nil
	}
	return descriptor{}, err
}

// memfdLink is what /proc shows of a descriptor for ring memory.
const memfdLink = "/memfd:" + ring.MemfdName + " (deleted)"

// at is what is at a descriptor of the calling thread.
func (c *call) at(fd int32) (descriptor, error) {
	d, err := c.s.at(c.tid, fd)
	if denied(err) {
		c.hidden, c.hiddenFD = true, fd
	}
	return d, err
}

// flagsOf is the O_ flags of a thread's descriptor, with O_CLOEXEC.
func (s *session) flagsOf(tid int, fd int32) int {
	flags, err := descriptorFlags(tid, fd)
	if !denied(err) {
		return flags
	}
	if r := s.record(tid); r != nil {
		d := r.fds[fd]
		if d.cloexec {
			flags |= unix.O_CLOEXEC
		}
		if d.memory != nil {
			flags |= nonblocking(d.memory.memory)
		}
		return flags
	}
	s.asUser(tid, func() error { flags, err = descriptorFlags(tid, fd); return err })
	return flags
}

// inspect finds out what is at a descriptor of a thread by its link in /proc. memfds are
// the files of rings' memory. Only for what may be ring memory is the file itself asked: it could lie on a
// file system that answers late, or never.
func inspect(tid int, fd int32, memfds map[file]*socket) (d descriptor, err error) {
	path := procPath(tid, "fd", fd)
	link, err := os.Readlink(path)
	if err != nil {
		return d, err
	}
	if ino, ok := socketInode(link); ok {
		return descriptor{inode: ino}, nil
	}
	if link != memfdLink || len(memfds) == 0 {
		return d, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return d, err
	}
	d.memory = memfds[file{uint64(st.Dev), st.Ino}]
	return d, nil
}

// inode says which socket is behind the call's first argument: 0 is one that is not
// ours.
func (c *call) inode() (uint64, bool) {
	d, err := c.at(c.int(0))
	return d.inode, err == nil && d.inode != 0 || err == errNotOurs
}

func socketInode(link string) (uint64, bool) {
	link, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	ino, err := strconv.ParseUint(strings.TrimSuffix(link, "]"), 10, 64)
	return ino, err == nil
}

const pidfdThread = unix.O_EXCL // PIDFD_THREAD (linux/pidfd.h)

// duplicate is a descriptor of ours for what a thread has at fd.
func duplicate(tid int, fd int32) (int, error) {
	pidfd, err := unix.PidfdOpen(tid, pidfdThread)
	if err != nil { // Linux before 6.9
		pidfd, err = unix.PidfdOpen(threadGroup(tid), 0)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	return unix.PidfdGetfd(pidfd, int(fd), 0)
}

// getfdDenied reports whether duplicate is denied whatever the process, as by the
// seccomp profiles of containers.
func getfdDenied() bool {
	fd, err := duplicate(unix.Gettid(), 0)
	if err == nil {
		unix.Close(fd)
	}
	return denied(err)
}

// descriptors lists, for every descriptor of a thread that is a packet socket,
// which. The error is that of looking.
func (s *session) descriptors(tid int, found func(fd int32, k *socket, swapped bool)) error {
	table, err := s.table(tid)
	for fd, d := range table {
		if k, swapped := s.socketOf(d); k != nil {
			k.seen(tid, fd)
			found(fd, k, swapped)
		}
	}
	return err
}

// table lists what is at the descriptors of a thread, all of them or at least those
// that are ours.
func (s *session) table(tid int) (table map[int32]descriptor, err error) {
	table, err = inspectAll(tid, s.byMemfd)
	if !denied(err) {
		return table, err
	}
	if r := s.record(tid); r != nil {
		return maps.Clone(r.fds), nil
	}
	if s.asUser(tid, func() (err error) { table, err = inspectAll(tid, s.byMemfd); return err }) == nil {
		return table, nil
	}
	return nil, err
}

// inspectAll is inspect of all descriptors of a thread. It lists those that may be ours:
// sockets and memory of rings.
func inspectAll(tid int, memfds map[file]*socket) (map[int32]descriptor, error) {
	fds, err := numbers(fmt.Sprintf("/proc/%d/fd", tid))
	if err != nil {
		return nil, err
	}
	table := make(map[int32]descriptor)
	for _, fd := range fds {
		d, err := inspect(tid, int32(fd), memfds)
		if denied(err) { // the list itself may be read all the same
			return nil, err
		}
		if err == nil && d != (descriptor{}) {
			table[int32(fd)] = d
		}
	}
	return table, nil
}
