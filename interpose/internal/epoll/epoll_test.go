//go:build linux && (amd64 || arm64)

package epoll

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWaitReturnsWhatTheSetAsksFor(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	if err := s.Ctl(unix.EPOLL_CTL_ADD, pipe[0], unix.EPOLLIN); err != nil {
		t.Fatal(err)
	}
	var events [2]unix.EpollEvent
	if n, err := s.Poll(events[:]); n != 0 || err != nil {
		t.Errorf("%d events, %v: want none of an empty pipe", n, err)
	}
	for round := range 3 { // each is an edge of the set to Go's poller
		waited := make(chan error)
		go func() {
			if err := s.WaitReady(); err != nil {
				waited <- err
				return
			}
			n, err := s.Wait(events[:])
			if err == nil && (n != 1 || events[0].Fd != int32(pipe[0]) || events[0].Events != unix.EPOLLIN) {
				err = errors.New("not the event of the pipe")
			}
			waited <- err
		}()
		if _, err := unix.Write(pipe[1], []byte{1}); err != nil {
			t.Fatal(err)
		}
		if err := <-waited; err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		var b [1]byte
		unix.Read(pipe[0], b[:])
	}

	waited := make(chan error)
	go func() { _, err := s.Wait(events[:]); waited <- err }()
	s.Close()
	if err := <-waited; err == nil {
		t.Error("a Wait that Close ends returns no error")
	}
	if err := s.Ctl(unix.EPOLL_CTL_DEL, pipe[0], 0); err == nil {
		t.Error("a set that is closed can be changed")
	}
}
