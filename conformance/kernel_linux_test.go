package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/tpacket"
)

// kernelSide is the kernel, in a network namespace of its own.
type kernelSide struct {
	ns      *kring.Namespace
	devices map[string]*kring.Device
	down    map[string]bool // or away
	next    int             // index of the next device that comes back
	frame   [1 << 17]byte   // for wire
}

func newKernelSide(ns *kring.Namespace) (*kernelSide, error) {
	k := &kernelSide{ns: ns, devices: make(map[string]*kring.Device), down: make(map[string]bool)}
	if err := errors.Join(ns.Do(loUp), k.reset()); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

// loUp sets this network namespace's lo up.
func loUp() error {
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq(lo)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

// reset has the devices as every script finds them.
func (side *kernelSide) reset() error {
	side.next = nextIndex
	for name, index := range map[string]int{tap0: tapIndex, tun0: tunIndex} {
		if d := side.devices[name]; d != nil && d.Index != index {
			side.remove(name)
		}
		if side.devices[name] == nil {
			if err := side.add(name, index); err != nil {
				return err
			}
		}
		if side.down[name] {
			if err := side.devices[name].SetUp(true); err != nil {
				return err
			}
			side.down[name] = false
		}
	}
	return nil
}

func (side *kernelSide) add(name string, index int) (err error) {
	var d *kring.Device
	if name == tap0 {
		d, err = side.ns.TAP(name, index, ourAddr)
	} else {
		d, err = side.ns.TUN(name, index)
	}
	if err != nil {
		return err
	}
	side.devices[name], side.down[name] = d, false
	if err := d.SetMTU(deviceMTU); err != nil {
		return err
	}
	return d.KeepOffloads()
}

func (side *kernelSide) remove(name string) {
	side.devices[name].Close()
	delete(side.devices, name)
	side.down[name] = true
}

func (side *kernelSide) close() {
	for _, d := range side.devices {
		d.Close()
	}
}

func (side *kernelSide) device(name string, what change) error {
	d := side.devices[name]
	switch {
	case what == comesBack && d == nil:
		side.next++
		return side.add(name, side.next-1)
	case what == goesAway && d != nil:
		side.remove(name)
	case (what == goesDown || what == comesUp) && d != nil:
		side.down[name] = what == goesDown
		return d.SetUp(what == comesUp)
	}
	return nil
}

func (side *kernelSide) arrive(dev string, p packet, times int, _ delivery) error {
	frame := p.bytes(dev)
	for range times {
		if side.devices[dev] == nil {
			return nil
		}
		err := side.devices[dev].ReceiveOffloaded(p.vnetHdr(dev), frame)
		if side.down[dev] && err == unix.EIO {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (side *kernelSide) leave(dev string, p packet, times int, _ delivery) error {
	d, frame := side.devices[dev], p.bytes(dev)
	if d == nil {
		return nil
	}
	for range times {
		var err error
		if p.load == (offload{}) {
			err = d.Send(p.protocol(), frame)
		} else {
			err = d.SendOffloaded(p.protocol(), p.vnetHdr(dev), frame)
		}
		if side.down[dev] && err == unix.ENETDOWN {
			return nil
		}
		if err != nil {
			return err
		}
	}
	side.wire() // or the device's queue would fill up
	return nil
}

func (side *kernelSide) wire() (all []byte) {
	for _, name := range []string{tap0, tun0} {
		for side.devices[name] != nil {
			h, n, err := side.devices[name].ReadOffloaded(side.frame[:])
			if err != nil {
				break
			}
			all = append(all, onWire(name, h, side.frame[:n])...)
		}
	}
	return all
}

func (side *kernelSide) socket(typ, proto int) (s socketSide, err error) {
	err = side.ns.Do(func() (err error) {
		s, err = openKernelSocket(typ, proto)
		return err
	})
	return s, err
}

// openKernelSocket opens a packet socket where this thread is.
func openKernelSocket(typ, proto int) (*kernelSocket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(tpacket.Htons(uint16(proto))))
	if err != nil {
		return nil, err
	}
	s := &kring.Socket{FD: fd}
	// What buffers hold unless a program says otherwise is the machine's to say:
	// net.core.rmem_default may have been changed.
	for _, o := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
		if err := unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, o, defaultBuffer/2); err != nil {
			s.Close()
			return nil, err
		}
	}
	return &kernelSocket{Socket: s}, nil
}

// defaultBuffer is Linux's own net.core.rmem_default and wmem_default.
const defaultBuffer = 212992

type kernelSocket struct {
	*kring.Socket
	ring *mapping // the one that the socket has, in no memory until mmap
	tx   *mapping // its transmit ring
	mem  []byte

	sentByLo bool // frames of the transmit ring may be in a queue: see overwritesQueued

	sentTo bool // packets whose cost is their sender's matter are in its queue, or have been
}

func (s *kernelSocket) close() error { return s.Close() }

func (s *kernelSocket) bind(addr []byte) error {
	_, _, errno := unix.RawSyscall(unix.SYS_BIND, uintptr(s.FD), uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(len(addr)))
	return bare(errno)
}

func (s *kernelSocket) getsockname() ([]byte, error) {
	buf := make([]byte, unix.SizeofSockaddrAny)
	n := uint32(len(buf))
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(s.FD), uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&n)))
	return buf[:n], bare(errno)
}

func (s *kernelSocket) setsockopt(level, name int, val []byte) error {
	version := tpacket.V1
	ring := level == unix.SOL_PACKET && (name == unix.PACKET_RX_RING || name == unix.PACKET_TX_RING)
	if ring {
		version = tpacket.Version(s.int(unix.PACKET_VERSION))
	}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(s.FD), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(val))), uintptr(len(val)), 0)
	if ring && errno == 0 {
		if name == unix.PACKET_TX_RING {
			return reshape(&s.tx, version, s.int(unix.PACKET_RESERVE), val)
		}
		return reshape(&s.ring, version, s.int(unix.PACKET_RESERVE), val)
	}
	return bare(errno)
}

// int is a SOL_PACKET option.
func (s *kernelSocket) int(name int) uint32 {
	b, err := s.Option(name, make([]byte, 4))
	if err != nil {
		panic(err) // the kernel has them all
	}
	return binary.NativeEndian.Uint32(b)
}

// queue is how much of SO_RCVBUF is taken, and how much there is.
func (s *kernelSocket) queue() (held, limit int) {
	buf := make([]byte, 9*4)
	n, err := s.getsockopt(unix.SOL_SOCKET, unix.SO_MEMINFO, buf)
	if err != nil || n < 8 {
		panic(err)
	}
	return int(binary.NativeEndian.Uint32(buf)), int(binary.NativeEndian.Uint32(buf[4:]))
}

// reshape notes the shape of a ring that has just been made or taken away.
func reshape(ring **mapping, v tpacket.Version, reserve uint32, val []byte) error {
	r := tpacket.Parse[tpacket.Req3](val)
	if r.BlockNr == 0 {
		*ring = nil
		return nil
	}
	g, err := tpacket.Layout(v, r, reserve, unix.Getpagesize())
	if err != nil {
		return fmt.Errorf("tpacket.Layout refuses what was taken: %v", err)
	}
	*ring = &mapping{geo: g}
	return nil
}

func (s *kernelSocket) getsockopt(level, name int, buf []byte) (int, error) {
	n := uint32(len(buf))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(s.FD), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (s *kernelSocket) attach(prog []cbpf.Instruction) error {
	return s.setProgram(unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, prog)
}

func (s *kernelSocket) fanoutProgram(prog []cbpf.Instruction) error {
	return s.setProgram(unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, prog)
}

func (s *kernelSocket) getFilter(room int) ([]cbpf.Instruction, int, error) {
	prog := make([]byte, (room+1)*cbpf.SizeofInstruction)
	n := uint32(room)
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(s.FD), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		uintptr(unsafe.Pointer(&prog[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return nil, 0, errno
	}
	return cbpf.ParseBytes(prog)[:min(int(n), room)], int(n), nil
}

func (s *kernelSocket) setProgram(level, name int, prog []cbpf.Instruction) error {
	return unix.SetsockoptSockFprog(s.FD, level, name, cbpf.SockFprog(prog))
}

func (s *kernelSocket) mmap() (*mapping, error) {
	m := new(mapping)
	if s.ring != nil {
		m.geo = s.ring.geo
	}
	if s.tx != nil {
		m.tx = &mapping{geo: s.tx.geo, sends: true}
	}
	mem, err := s.Map(max(m.size(), unix.Getpagesize()))
	if err != nil {
		return nil, err
	}
	s.mem = mem
	m.lie(mem)
	return m, nil
}

func (s *kernelSocket) munmap() error { return unix.Munmap(s.mem) }

// read is read(2) without O_NONBLOCK, as SO_RCVTIMEO has an effect on.
func (s *kernelSocket) read(room int) ([]byte, error) {
	if err := unix.SetNonblock(s.FD, false); err != nil {
		return nil, err
	}
	defer unix.SetNonblock(s.FD, true)
	b := make([]byte, room+1) // Go cannot point to nothing
	for {
		n, _, errno := unix.Syscall(unix.SYS_READ, uintptr(s.FD), uintptr(unsafe.Pointer(&b[0])), uintptr(room))
		switch errno {
		case 0:
			return b[:n], nil
		case unix.EINTR: // Go's scheduler sends signals
		default:
			return nil, errno
		}
	}
}

func (s *kernelSocket) state() state { return stateOf(s) }

func (s *kernelSocket) poll() (int, error) {
	fds := []unix.PollFd{{Fd: int32(s.FD), Events: unix.POLLIN | unix.POLLERR | unix.POLLPRI}}
	for {
		if _, err := unix.Poll(fds, 0); err != unix.EINTR { // Go's scheduler sends signals
			return int(fds[0].Revents), err
		}
	}
}

func (s *kernelSocket) inq() (int, error) { return unix.IoctlGetInt(s.FD, unix.SIOCINQ) }

func (s *kernelSocket) recv(room, flags, control int) (m message, err error) {
	// One byte more than there is room for: Go cannot point to nothing.
	data, name, oob := make([]byte, room+1), make([]byte, unix.SizeofSockaddrAny), make([]byte, control+1)
	iov := unix.Iovec{Base: &data[0], Len: uint64(room)}
	h := unix.Msghdr{Name: &name[0], Namelen: uint32(len(name)), Iov: &iov, Iovlen: 1, Control: &oob[0], Controllen: uint64(control)}
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.FD), uintptr(unsafe.Pointer(&h)), uintptr(flags))
	if errno != 0 {
		return m, errno
	}
	return message{int(n), int(h.Flags), data[:min(int(n), room)], name[:h.Namelen], oob[:h.Controllen]}, nil
}

// bare is the errno as an error, nil for none.
func bare(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
