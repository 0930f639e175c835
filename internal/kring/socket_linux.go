package kring

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/tpacket"
)

// Socket is a kernel AF_PACKET socket. Its methods are the system calls, and
// return bare errnos, so that a caller can compare them with those of another
// implementation.
type Socket struct {
	FD int
}

// Socket opens an AF_PACKET socket: typ is SOCK_RAW or SOCK_DGRAM, protocol an
// EtherType in host byte order, 0 to receive nothing until Bind.
func (ns *Namespace) Socket(typ int, protocol uint16) (*Socket, error) {
	s := &Socket{-1}
	err := ns.Do(func() (err error) {
		s.FD, err = unix.Socket(unix.AF_PACKET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(tpacket.Htons(protocol)))
		return err
	})
	return s, err
}

// Close closes the socket. Twice is EBADF, and does no harm: the number may be
// another socket's by then.
func (s *Socket) Close() error {
	fd := s.FD
	s.FD = -1
	return unix.Close(fd)
}

// Bind binds to an interface, 0 for all, and an EtherType in host byte order.
func (s *Socket) Bind(ifindex int, protocol uint16) error {
	return unix.Bind(s.FD, &unix.SockaddrLinklayer{Protocol: tpacket.Htons(protocol), Ifindex: ifindex})
}

// SetOption sets a SOL_PACKET option.
func (s *Socket) SetOption(opt int, value []byte) error {
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(s.FD), unix.SOL_PACKET, uintptr(opt),
		uintptr(unsafe.Pointer(unsafe.SliceData(value))), uintptr(len(value)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// SetInt sets a SOL_PACKET option that is a C int or unsigned int.
func (s *Socket) SetInt(opt int, value uint32) error {
	return s.SetOption(opt, unsafe.Slice((*byte)(unsafe.Pointer(&value)), 4))
}

// Option reads a SOL_PACKET option. value goes in as it is (PACKET_HDRLEN reads
// it) and comes back cut to the length that the kernel reports.
func (s *Socket) Option(opt int, value []byte) ([]byte, error) {
	n := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.FD), unix.SOL_PACKET, uintptr(opt),
		uintptr(unsafe.Pointer(unsafe.SliceData(value))), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return nil, errno
	}
	return value[:min(int(n), len(value))], nil
}

// SetRxRing asks for a receive ring of the version that was set before, and
// passes the struct that goes with it.
func (s *Socket) SetRxRing(v tpacket.Version, r tpacket.Req3) error {
	if v == tpacket.V3 {
		return s.SetOption(tpacket.OptRxRing, tpacket.Bytes(&r))
	}
	return s.SetOption(tpacket.OptRxRing, tpacket.Bytes(&r.Req))
}

// Map maps size bytes of the socket's ring, shared and writable.
func (s *Socket) Map(size int) ([]byte, error) {
	return unix.Mmap(s.FD, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// Poll waits until the socket is readable, at most d.
func (s *Socket) Poll(d time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(s.FD), Events: unix.POLLIN}}
	for deadline := time.Now().Add(d); ; {
		n, err := unix.Poll(fds, max(0, int(time.Until(deadline).Milliseconds())))
		if err != unix.EINTR {
			return n > 0 && fds[0].Revents&unix.POLLIN != 0, err
		}
	}
}

// Recv reads a packet that did not go to the ring. flags as in recv(2). It does
// not wait.
func (s *Socket) Recv(buf []byte, flags int) (int, error) {
	n, _, err := unix.Recvfrom(s.FD, buf, flags)
	return n, err
}

// SendTo sends a frame. addr is a struct sockaddr_ll, or what a program passes for
// one; nil for none.
func (s *Socket) SendTo(frame, addr []byte, flags int) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(s.FD),
		uintptr(unsafe.Pointer(unsafe.SliceData(frame))), uintptr(len(frame)), uintptr(flags),
		uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(len(addr)))
	if errno != 0 {
		return 0, errno
	}
	return int(int32(n)), nil // a ring's tp_len, which need not be positive
}

// RingConfig says what ring OpenRing makes.
type RingConfig struct {
	Type       int // SOCK_RAW or SOCK_DGRAM
	Version    tpacket.Version
	Reserve    uint32
	VnetHdr    bool   // PACKET_VNET_HDR
	CopyThresh uint32 // PACKET_COPY_THRESH, 0 for none
	Request    tpacket.Req3
}

// Ring is a socket with its receive ring mapped.
type Ring struct {
	*Socket
	Geometry tpacket.Geometry
	Mem      []byte
}

// OpenRing opens a socket with a ring, not yet bound: call Bind to receive.
func (ns *Namespace) OpenRing(c RingConfig) (*Ring, error) {
	s, err := ns.Socket(c.Type, 0)
	if err != nil {
		return nil, fmt.Errorf("socket(AF_PACKET): %w", err)
	}
	r := &Ring{Socket: s}
	if err := r.setup(c); err != nil {
		s.Close()
		return nil, err
	}
	return r, nil
}

func (r *Ring) setup(c RingConfig) error {
	for _, o := range []struct {
		name  string
		opt   int
		value uint32
		set   bool
	}{
		{"PACKET_VERSION", tpacket.OptVersion, uint32(c.Version), true},
		{"PACKET_RESERVE", tpacket.OptReserve, c.Reserve, true},
		{"PACKET_VNET_HDR", tpacket.OptVnetHdr, 1, c.VnetHdr},
		{"PACKET_COPY_THRESH", tpacket.OptCopyThresh, c.CopyThresh, c.CopyThresh > 0},
	} {
		if !o.set {
			continue
		}
		if err := r.SetInt(o.opt, o.value); err != nil {
			return fmt.Errorf("%s %d: %w", o.name, o.value, err)
		}
	}
	if err := r.SetRxRing(c.Version, c.Request); err != nil {
		return fmt.Errorf("PACKET_RX_RING %+v: %w", c.Request, err)
	}
	g, err := tpacket.Layout(c.Version, c.Request, c.Reserve, unix.Getpagesize())
	if err != nil {
		return fmt.Errorf("the kernel accepts what tpacket.Layout does not: %w", err)
	}
	r.Geometry = g
	if r.Mem, err = r.Map(g.Size()); err != nil {
		return fmt.Errorf("mmap %d bytes: %w", g.Size(), err)
	}
	return nil
}

// Frame is frame i of a V1 or V2 ring, in place.
func (r *Ring) Frame(i uint32) []byte {
	off := r.Geometry.FrameOffset(i)
	return r.Mem[off : off+int(r.Geometry.FrameSize)]
}

// Block is block i of a V3 ring, in place.
func (r *Ring) Block(i uint32) []byte {
	size := int(r.Geometry.BlockSize)
	return r.Mem[int(i)*size:][:size]
}

// Close unmaps the ring and closes the socket.
func (r *Ring) Close() error {
	if r.Mem != nil {
		if err := unix.Munmap(r.Mem); err != nil {
			return err
		}
		r.Mem = nil
	}
	return r.Socket.Close()
}
