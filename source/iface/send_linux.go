package iface

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/explain"
)

// outlet sends frames by the interface. Its methods may be called concurrently.
//
// Other readers of the device must receive a frame exactly once, and its sender never. rxring
// delivers it to them when the interface has accepted it. So while the tap is open the frame
// is sent on the tap's own socket: Linux delivers a frame to all packet sockets except the
// one that sends it and those in its fanout group (dev_queue_xmit_nit, net/core/dev.c), and
// the tap's sockets are one group. While no tap is open, a socket that receives nothing sends.
type outlet struct {
	netns *netns
	index int // of the interface

	// A frame is sent while mu is held for reading, and the tap is opened while it is
	// held for writing: while the tap receives, only its socket sends frames that
	// sockets receive.
	mu     sync.RWMutex
	tap    *exit // nil while no tap is open
	idle   *exit // sends while no tap is open; nil until it is needed
	bypass *exit // PACKET_QDISC_BYPASS: no socket receives its frames; nil until it is needed
	closed bool

	sent, failed atomic.Uint64 // frames
}

// exit is a packet socket that sends.
type exit struct {
	conn syscall.RawConn
	file *os.File // closed with the outlet; nil for the tap's socket
	room int      // bytes of unsent frames from which senders must wait
}

// startSending sets the device's transmit functions to those of the outlet.
func (s *Source) startSending() {
	s.out.netns, s.out.index = s.netns, s.index
	if s.cfg.NoSend {
		s.dev.SetTransmitReady(func(*rxring.Packet) error {
			s.out.failed.Add(1)
			return explain.Errorf(unix.EPERM, "sending by the interface is switched off")
		})
		return
	}
	s.dev.SetTransmitReady(s.out.ready)
	s.dev.SetTransmitFirst(s.out.transmit) // no reader receives a frame that the interface refuses
}

// throughTap calls open, which opens the tap, and sends frames on its socket from then on.
func (o *outlet) throughTap(open func() (*capture.Handle, error)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	h, err := open()
	if err != nil {
		return err
	}
	conn, err := h.SyscallConn()
	if err != nil {
		return err
	}
	o.tap, err = newExit(conn)
	return err
}

// withoutTap must be called before the tap is closed.
func (o *outlet) withoutTap() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tap = nil
}

// close ends sending. Closing again does nothing.
func (o *outlet) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, e := range []*exit{o.idle, o.bypass} {
		if e != nil {
			e.file.Close()
		}
	}
	o.tap, o.idle, o.bypass = nil, nil, nil
}

// ready is the function of [rxring.Device.SetTransmitReady]. It returns EAGAIN where a sender
// in Linux would wait for room in the socket's send buffer.
func (o *outlet) ready(p *rxring.Packet) error {
	err := o.do(p, func(e *exit, fd int) error {
		used, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		if err == nil && used >= e.room {
			err = unix.EAGAIN
		}
		return err
	})
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		o.failed.Add(1)
	}
	return err
}

// transmit is the device's [rxring.TransmitFunc].
func (o *outlet) transmit(p *rxring.Packet) error {
	err := o.do(p, func(_ *exit, fd int) error { return send(fd, p) })
	if err != nil {
		o.failed.Add(1)
		return err
	}
	o.sent.Add(1)
	return nil
}

// do calls f with the socket that sends p.
func (o *outlet) do(p *rxring.Packet, f func(e *exit, fd int) error) error {
	for {
		o.mu.RLock()
		if e := o.exitLocked(p); e != nil {
			defer o.mu.RUnlock()
			var err error
			if err2 := e.conn.Control(func(fd uintptr) { err = f(e, int(fd)) }); err2 != nil {
				return err2
			}
			return err
		}
		o.mu.RUnlock()
		if err := o.open(p); err != nil {
			return err
		}
	}
}

// exitLocked returns the socket that sends p; nil if it is not open yet.
func (o *outlet) exitLocked(p *rxring.Packet) *exit {
	switch {
	case p.Bypass:
		return o.bypass
	case o.tap != nil:
		return o.tap
	}
	return o.idle
}

// open opens the socket that sends p, unless it is open.
func (o *outlet) open(p *rxring.Packet) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return unix.ENETDOWN
	}
	if o.exitLocked(p) != nil {
		return nil
	}
	var fresh *exit
	err := o.netns.do(func() (err error) {
		fresh, err = openExit(o.index, p.Bypass)
		return err
	})
	if err != nil {
		return err
	}
	if p.Bypass {
		o.bypass = fresh
	} else {
		o.idle = fresh
	}
	return nil
}

// openExit opens a packet socket that sends by an interface and receives nothing.
func openExit(index int, bypass bool) (*exit, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, advise(os.NewSyscallError("socket", err))
	}
	file := os.NewFile(uintptr(fd), "packet socket")
	e, err := func() (*exit, error) {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return nil, fmt.Errorf("PACKET_VNET_HDR: %w", err)
		}
		if bypass {
			if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
				return nil, fmt.Errorf("PACKET_QDISC_BYPASS: %w", err)
			}
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
			return nil, os.NewSyscallError("bind", err)
		}
		conn, err := file.SyscallConn()
		if err != nil {
			return nil, err
		}
		return newExit(conn)
	}()
	if err != nil {
		file.Close()
		return nil, err
	}
	e.file = file
	return e, nil
}

// spare is memory, in bytes, for frames that ready has accepted: a segment of 4 MiB as packets,
// which need more, and frames that other senders send at the same time.
const spare = 16 << 20

// newExit enlarges the socket's send buffer. ready makes senders wait when the former size is
// in use. Without CAP_NET_ADMIN the buffer is at most doubled.
func newExit(conn syscall.RawConn) (*exit, error) {
	e := &exit{conn: conn}
	var err error
	err2 := conn.Control(func(fd uintptr) {
		if e.room, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, (e.room+spare)/2) != nil { // the kernel doubles it
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, e.room)
			}
		}
	})
	if err = errors.Join(err2, err); err != nil {
		return nil, fmt.Errorf("SO_SNDBUF: %w", err)
	}
	return e, nil
}

// send sends p on a packet socket with PACKET_VNET_HDR.
func send(fd int, p *rxring.Packet) error {
	h := vnetHeader(p)
	pieces := [][]byte{h[:], p.Data}
	control := sendControl(p.Mark, p.Priority)
	_, err := unix.SendmsgBuffers(fd, pieces, control, nil, sendFlags)
	switch {
	case err == unix.ENETDOWN:
		// The interface may have been down before: the socket keeps the error until a
		// call has returned it.
		_, err = unix.SendmsgBuffers(fd, pieces, control, nil, sendFlags)
	case err == unix.EINVAL && p.Priority != 0: // a message of SO_PRIORITY needs Linux 6.14
		_, err = unix.SendmsgBuffers(fd, pieces, sendControl(p.Mark, 0), nil, sendFlags)
	}
	if err == unix.EAGAIN { // parts of a segment may have been sent: the sender must not try again
		return explain.Errorf(unix.ENOBUFS, "the send buffer is full")
	}
	return os.NewSyscallError("sendmsg", err)
}

const sendFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

const vnetNeedsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM

// vnetHeader returns p's struct virtio_net_hdr, in host byte order, as offload reads it.
func vnetHeader(p *rxring.Packet) (h [sizeofVnet]byte) {
	if p.Checksum == rxring.ChecksumPartial {
		h[0] = vnetNeedsCsum
		binary.NativeEndian.PutUint16(h[vnetCsumFrom:], p.ChecksumStart)
		binary.NativeEndian.PutUint16(h[vnetCsumAt:], p.ChecksumOffset)
	}
	if p.GSO.Type != rxring.GSONone {
		h[vnetGSOType] = byte(p.GSO.Type)
		binary.NativeEndian.PutUint16(h[vnetGSOSize:], p.GSO.Size)
		binary.NativeEndian.PutUint16(h[vnetHdrLen:], p.GSO.HdrLen)
	}
	return h
}

// sendControl returns the control messages for the mark and priority of the program's socket;
// none for 0.
func sendControl(mark, priority uint32) (b []byte) {
	if mark != 0 {
		b = appendControl(b, unix.SO_MARK, mark)
	}
	if priority != 0 {
		b = appendControl(b, unix.SO_PRIORITY, priority)
	}
	return b
}

// appendControl appends a struct cmsghdr and its value, padded.
func appendControl(b []byte, typ int32, value uint32) []byte {
	message := make([]byte, unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&message[0]))
	h.Level, h.Type = unix.SOL_SOCKET, typ
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(message[unix.CmsgLen(0):], value)
	return append(b, message...)
}
