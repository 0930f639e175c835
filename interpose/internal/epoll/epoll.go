//go:build linux && (amd64 || arm64)

// Package epoll waits for descriptors in Go's scheduler, by way of an epoll set of its own: so
// only the events that the set asks for wake a goroutine, and the descriptors stay the caller's.
package epoll

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/shortcall"
)

// Set is an epoll set. One goroutine at a time may call Wait or WaitReady, and any goroutine
// the other methods.
type Set struct {
	file *os.File // registered with Go's poller
	conn syscall.RawConn
}

// New returns an empty set.
func New() (*Set, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // os.NewFile polls only such a descriptor
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	s := &Set{file: os.NewFile(uintptr(fd), "epoll")}
	s.conn, err = s.file.SyscallConn()
	return s, err
}

// Ctl is epoll_ctl for a descriptor, with epoll's event mask.
func (s *Set) Ctl(op, fd int, events uint32) (err error) {
	err2 := s.conn.Control(func(set uintptr) {
		err = unix.EpollCtl(int(set), op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	})
	return errors.Join(err2, err)
}

// Wait waits for events, stores them in events, and returns their number. After Close it returns
// an error.
func (s *Set) Wait(events []unix.EpollEvent) (n int, err error) {
	err2 := s.conn.Read(func(set uintptr) bool {
		n, err = poll(set, events)
		return n > 0 || err != nil
	})
	return n, errors.Join(err2, err)
}

// WaitReady waits until Poll has events.
func (s *Set) WaitReady() error {
	return s.conn.Read(func(set uintptr) bool {
		events, err := shortcall.Poll(int(set), unix.POLLIN)
		return events != 0 || err != nil
	})
}

// Poll is Wait without waiting: n may be 0.
func (s *Set) Poll(events []unix.EpollEvent) (n int, err error) {
	err2 := s.conn.Control(func(set uintptr) { n, err = poll(set, events) })
	return n, errors.Join(err2, err)
}

func poll(set uintptr, events []unix.EpollEvent) (n int, err error) {
	for {
		if n, err = shortcall.EpollWait(int(set), events); err != unix.EINTR {
			return n, os.NewSyscallError("epoll_wait", err)
		}
	}
}

// Close closes the set, and ends a Wait that is in progress.
func (s *Set) Close() error { return s.file.Close() }
