package bench

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sender sends one packet again and again through a device, past its queue
// (PACKET_QDISC_BYPASS), many a system call.
type sender struct {
	fd       int
	packet   []byte
	vector   unix.Iovec
	messages []mmsghdr
}

// mmsghdr is struct mmsghdr (sys/socket.h).
type mmsghdr struct {
	header unix.Msghdr
	sent   uint32
	_      [4]byte
}

// burstOfSends is how many packets a system call sends: as many as wait for a
// card's interrupt at these rates.
const burstOfSends = 32

// openSender must run in the device's namespace.
func openSender(index, size int) (*sender, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: it receives nothing
	if err != nil {
		return nil, fmt.Errorf("socket(AF_PACKET): %w", err)
	}
	s := &sender{fd: fd, packet: packet(size), messages: make([]mmsghdr, burstOfSends)}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("PACKET_QDISC_BYPASS: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind to device %d: %w", index, err)
	}
	s.vector = unix.Iovec{Base: &s.packet[0], Len: uint64(size)}
	for i := range s.messages {
		s.messages[i].header = unix.Msghdr{Iov: &s.vector, Iovlen: 1}
	}
	return s, nil
}

// flood sends packets as fast as possible for a time, and returns how many it sent, and in what
// time.
func (s *sender) flood(during time.Duration) (sent uint64, took time.Duration, err error) {
	begin := time.Now()
	for {
		if took = time.Since(begin); took >= during {
			return sent, took, nil
		}
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.messages[0])), burstOfSends, 0, 0, 0)
		switch errno {
		case 0:
			sent += uint64(n)
		case unix.ENOBUFS, unix.EAGAIN, unix.EINTR: // not sent
		default:
			return sent, took, fmt.Errorf("sendmmsg of %d packets: %w", burstOfSends, errno)
		}
	}
}

func (s *sender) close() error { return unix.Close(s.fd) }
