package iface

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// linkUpdate is a change to an interface: the part of struct ifinfomsg (linux/rtnetlink.h)
// that a Source needs.
type linkUpdate struct {
	index   int
	up      bool // IFF_UP
	removed bool // RTM_DELLINK
}

// subscription receives the changes to a namespace's interfaces (RTNLGRP_LINK). The updates
// channel must be read until it is closed: after end, or when the socket fails, as with
// ENOBUFS when updates were lost.
type subscription struct {
	updates chan linkUpdate
	socket  *os.File
}

// subscribe subscribes in the calling thread's network namespace. It needs no privilege.
func subscribe() (subscription, error) {
	socket, err := linkSocket()
	if err != nil {
		return subscription{}, fmt.Errorf("subscribe to changes of interfaces: %w", err)
	}
	s := subscription{make(chan linkUpdate), socket}
	go s.receive()
	return s, nil
}

func linkSocket() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.RTNLGRP_LINK - 1)}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "rtnetlink socket"), nil
}

// end closes the socket, and returns once receive has returned.
func (s subscription) end() {
	s.socket.Close()
	for range s.updates {
	}
}

// receive sends updates until the socket fails or is closed.
func (s subscription) receive() {
	defer close(s.updates)
	conn, err := s.socket.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, maxLinkMessage)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buf, 0)
			return failed != unix.EAGAIN
		})
		if err != nil || failed != nil && failed != unix.EINTR {
			return
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 { // not the kernel
			continue
		}
		updates, err := parseLinkUpdates(buf[:n])
		if err != nil {
			return
		}
		for _, u := range updates {
			s.updates <- u
		}
	}
}

// maxLinkMessage is the size of the receive buffer, in bytes. A larger message is truncated,
// which ends the subscription.
const maxLinkMessage = 64 << 10

// parseLinkUpdates returns the changes that a datagram of rtnetlink reports. Messages of
// another family are a bridge's, about its ports: it reports with RTM_DELLINK that a port has
// left it.
func parseLinkUpdates(b []byte) (updates []linkUpdate, err error) {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		switch {
		case m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK:
		case len(m.Data) < unix.SizeofIfInfomsg || m.Data[0] != unix.AF_UNSPEC:
		default:
			updates = append(updates, linkUpdate{
				index:   int(int32(binary.NativeEndian.Uint32(m.Data[4:]))),
				up:      binary.NativeEndian.Uint32(m.Data[8:])&unix.IFF_UP != 0,
				removed: m.Header.Type == unix.RTM_DELLINK,
			})
		}
	}
	return updates, nil
}
