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
// ECONNRESET, but what the program asks for is the errno, and that we answer. The
// stand-in then gets a new other end at once: write, which is not trapped, takes
// the error, as it takes that of a packet socket, and the next one comes out there.

// showError has the stand-in show an error while the socket has one, as it has by
// the events that it has just told.
func (k *socket) showError(ev rxring.Events) bool {
	pending := ev&rxring.EventErr != 0
	if pending && !k.failed && k.sendWritten() > 0 { // who wrote before meets it first
		pending = k.rx.Events()&rxring.EventErr != 0
	}
	if pending && k.failed && k.polled()&unix.POLLERR == 0 {
		// read or write took it.
		var errno [4]byte
		k.rx.Getsockopt(unix.SOL_SOCKET, unix.SO_ERROR, errno[:])
		pending = false
	}
	switch {
	case pending && !k.failed:
		k.unstage() // it stays first in the queue
		k.failed = true
		k.waker.hush()
		k.fail()
		k.connect()
	case !pending && k.failed:
		unix.GetsockoptInt(k.end, unix.SOL_SOCKET, unix.SO_ERROR)
		k.drain(1 << 20)
		k.failed = false
		k.connect()
		k.waker.speak()
	}
	return pending
}

// fail gives the stand-in its error, and takes its other end. What is written in
// that moment is lost.
func (k *socket) fail() {
	unix.Send(k.end, []byte{0}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) // to be left unread
	k.s.pairs.remove(k.waker.end)
	var unspec unix.RawSockaddrAny
	unix.RawSyscall(unix.SYS_CONNECT, uintptr(k.waker.end), uintptr(unsafe.Pointer(&unspec)), unsafe.Sizeof(unspec.Addr))
	k.waker.close()
}

// connect gives the stand-in a new other end, if it has none.
func (k *socket) connect() {
	if k.waker.end >= 0 {
		return
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		for _, ends := range [][2]int{{k.end, fd}, {fd, k.end}} {
			if err == nil {
				err = connectTo(ends[0], ends[1])
			}
		}
		if err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		k.s.cfg.logf("packet socket: %v: it will not be seen to be readable, nor can it be written to", err)
		return
	}
	k.waker.open(fd)
	k.s.pairs.watch(k)
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
