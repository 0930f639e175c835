//go:build linux && (amd64 || arm64)

package interpose

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// A pending error shows in poll (POLLERR), so it must be an error of the stand-in. The
// kernel gives one to an end of a pair of datagram sockets when the other end
// disconnects while something is unread (unix_dgram_disconnected, net/unix/af_unix.c).
// That one is ECONNRESET, but where the program asks for the errno, we answer. The
// stand-in gets a new other end at once: write, which is not trapped, returns the error
// and clears it, as on a packet socket, and the next write arrives there.

// showError makes the stand-in show an error exactly while one is pending at the socket,
// by ev, the socket's present events. It reports whether one is.
func (p *packetSocket) showError(ev rxring.Events) bool {
	pending := ev&rxring.EventErr != 0
	if pending && !p.errorShown && p.sendWritten() > 0 { // a write before this call meets it first
		pending = p.backend.Events()&rxring.EventErr != 0
	}
	if pending && p.errorShown && p.polled()&unix.POLLERR == 0 {
		// read or write has returned it.
		var errno [4]byte
		p.backend.Getsockopt(unix.SOL_SOCKET, unix.SO_ERROR, errno[:])
		pending = false
	}
	switch {
	case pending && !p.errorShown:
		p.unstage() // the packet stays first in the queue
		p.errorShown = true
		p.waker.suspend()
		p.disconnect()
		p.connectEnds()
	case !pending && p.errorShown:
		unix.GetsockoptInt(p.standIn, unix.SOL_SOCKET, unix.SO_ERROR)
		p.drain(drainAll)
		p.errorShown = false
		p.connectEnds()
		p.waker.resume()
	}
	return pending
}

// disconnect gives the stand-in its error, and closes its other end. A frame that is
// written at that moment is lost.
func (p *packetSocket) disconnect() {
	unix.Send(p.standIn, []byte{0}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) // which stays unread
	p.s.pairs.remove(p.waker.end)
	var unspec unix.RawSockaddrAny
	unix.RawSyscall(unix.SYS_CONNECT, uintptr(p.waker.end), uintptr(unsafe.Pointer(&unspec)), unsafe.Sizeof(unspec.Addr))
	p.waker.close()
}

// connectEnds gives the stand-in a new other end, if it has none.
func (p *packetSocket) connectEnds() {
	if p.waker.end >= 0 {
		return
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		for _, ends := range [][2]int{{p.standIn, fd}, {fd, p.standIn}} {
			if err == nil {
				err = connectTo(ends[0], ends[1])
			}
		}
		if err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		p.s.warnf("packet socket: %v: it will not become readable, and frames that the program writes will not be sent", err)
		return
	}
	p.waker.open(fd)
	p.watchEnd()
}

// connectTo connects a datagram socket to another one, which gets a unique name for it.
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
