//go:build linux && (amd64 || arm64)

package interpose

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// A pending error shows in poll (POLLERR), and so must be one of the stand-in's.
// The kernel gives one to an end of a pair of datagram sockets when the other end
// disconnects with something unread (unix_dgram_disconnected, net/unix/af_unix.c):
// ECONNRESET, but what the program asks for is the errno, and that we answer. When
// the error has been taken there is a new other end.

// showError has the stand-in show an error while the socket has one.
func (k *socket) showError() bool {
	pending := k.rx.Events()&rxring.EventErr != 0
	if pending && k.failed && k.polled()&unix.POLLERR == 0 {
		// read took it.
		var errno [4]byte
		k.rx.Getsockopt(unix.SOL_SOCKET, unix.SO_ERROR, errno[:])
		pending = false
	}
	switch {
	case pending && !k.failed:
		if k.staged && k.drain(1<<20) > 0 {
			k.staged = false // it stays first in the queue
		}
		k.disconnect()
		k.failed = true
	case !pending && k.failed:
		unix.GetsockoptInt(k.end, unix.SOL_SOCKET, unix.SO_ERROR)
		k.drain(1 << 20)
		if err := k.connect(); err != nil {
			k.s.cfg.logf("packet socket: %v: it will not be seen to be readable", err)
		}
		k.failed = false
	}
	return pending
}

// disconnect gives the stand-in its error.
func (k *socket) disconnect() {
	k.sendWritten()
	unix.Send(k.end, []byte{0}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) // to be left unread
	w := &k.waker
	w.mu.Lock()
	defer w.mu.Unlock()
	var unspec unix.RawSockaddrAny
	unix.RawSyscall(unix.SYS_CONNECT, uintptr(w.end), uintptr(unsafe.Pointer(&unspec)), unsafe.Sizeof(unspec.Addr))
	unix.Close(w.end)
	w.end, w.queued = -1, 0
}

// connect gives the stand-in a new other end.
func (k *socket) connect() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for _, ends := range [][2]int{{k.end, fd}, {fd, k.end}} {
		if err == nil {
			err = connectTo(ends[0], ends[1])
		}
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	k.waker.mu.Lock()
	k.waker.end = fd
	k.waker.mu.Unlock()
	k.s.pairs.watch(k)
	return nil
}

// connectTo connects a datagram socket to another one, which gets a name for it
// that nobody else has.
func connectTo(fd, to int) error {
	if err := unix.Bind(to, new(unix.SockaddrUnix)); err != nil {
		return err
	}
	name, err := unix.Getsockname(to)
	if err != nil {
		return err
	}
	return unix.Connect(fd, name)
}
