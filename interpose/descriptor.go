//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"fmt"
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
	k, _ := c.s.lookup(c.tid, fd)
	return k, k != nil
}

// lookup is socket; swapped says that the ring's memory is at the descriptor
// just now.
func (s *session) lookup(tid int, fd int32) (k *socket, swapped bool) {
	if fd < 0 {
		return nil, false
	}
	link, err := s.readlink(procPath(tid, "fd", fd))
	if err != nil {
		return nil, false
	}
	if k, swapped = s.identify(link, procPath(tid, "fd", fd)); k != nil {
		k.seen(tid, fd)
	}
	return k, swapped
}

func (s *session) readlink(path string) (string, error) {
	link, err := os.Readlink(path)
	if errors.Is(err, os.ErrPermission) && !s.blind {
		s.blind = true
		s.cfg.logf("%s: the program gave up or gained privileges and may not be looked into any more: its packet-socket calls fail", path)
	}
	return link, err
}

// memfdLink is what /proc shows of a descriptor for ring memory.
const memfdLink = "/memfd:" + ring.MemfdName + " (deleted)"

// identify knows a descriptor by its link, path being where the link is.
// Only for what may be ring memory is the file itself asked: it could lie on a
// file system that answers late, or never.
func (s *session) identify(link, path string) (k *socket, swapped bool) {
	if ino, ok := socketInode(link); ok {
		return s.byInode[ino], false
	}
	if link != memfdLink || len(s.byMemfd) == 0 {
		return nil, false
	}
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return nil, false
	}
	k = s.byMemfd[file{uint64(st.Dev), st.Ino}]
	return k, k != nil
}

// inode says which socket is behind the call's first argument.
func (c *call) inode() (uint64, bool) {
	link, err := c.s.readlink(procPath(c.tid, "fd", c.int(0)))
	if err != nil {
		return 0, false
	}
	return socketInode(link)
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

// descriptors lists, for every descriptor of a thread that is a packet socket,
// which.
func (s *session) descriptors(tid int, found func(fd int32, k *socket, swapped bool)) {
	dir := fmt.Sprintf("/proc/%d/fd", tid)
	for _, fd := range numbers(dir) {
		path := procPath(tid, "fd", int32(fd))
		if link, err := s.readlink(path); err == nil {
			if k, swapped := s.identify(link, path); k != nil {
				k.seen(tid, int32(fd))
				found(int32(fd), k, swapped)
			}
		}
	}
}
