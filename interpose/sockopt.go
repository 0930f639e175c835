//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// maxOption bounds the bytes of an option's value that are read, or room that
// is offered for one: no option has more.
const maxOption = 4096

func native32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

func native16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }

func bytes32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// optionValue reads what setsockopt is given.
func (c *call) optionValue() ([]byte, error) {
	n := c.int(4)
	if n < 0 {
		return nil, unix.EINVAL
	}
	val := make([]byte, min(n, maxOption))
	return val, c.read(c.Args[3], val)
}

// optionRoom reads how much room getsockopt is offered.
func (c *call) optionRoom() (int32, error) {
	var room [4]byte
	if err := c.read(c.Args[4], room[:]); err != nil {
		return 0, err
	}
	n := int32(native32(room[:]))
	if n < 0 {
		return 0, unix.EINVAL
	}
	return n, nil
}

func (c *call) setsockopt(k *socket) reply {
	level, name := int(c.int(1)), int(c.int(2))
	val, err := c.optionValue()
	if err != nil {
		if errnoOf(err) == unix.EFAULT {
			err = k.setFault(level, name, int(c.int(4)))
		}
		return result(err)
	}
	if !c.valid() {
		return reply{}
	}
	switch {
	case level == unix.SOL_SOCKET && name == unix.SO_ATTACH_FILTER:
		return c.attachFilter(k, val)
	case level == unix.SOL_SOCKET && name == unix.SO_ATTACH_BPF:
		return reply{kind: value, err: unix.EOPNOTSUPP} // only the kernel runs eBPF
	case level == tpacket.SolPacket && (name == tpacket.OptRxRing || name == tpacket.OptTxRing):
		return c.setRing(k, name, val)
	case level == tpacket.SolPacket && name == tpacket.OptFanout:
		err := k.rx.Setsockopt(level, name, val)
		if err != nil && c.s.sweepNow() { // a group of closed sockets is none
			err = k.rx.Setsockopt(level, name, val)
		}
		k.grouped = k.grouped || err == nil
		return result(err)
	case level == tpacket.SolPacket && name == tpacket.OptFanoutData:
		return c.fanoutData(k, val)
	}
	err = k.rx.Setsockopt(level, name, val)
	switch {
	case err != nil && errnoOf(err) == unix.ENODEV && name == unix.SO_BINDTODEVICE:
		name, _, _ := strings.Cut(string(val), "\x00")
		c.s.addMissing(name)
	case err == nil && level == unix.SOL_SOCKET && slices.Contains(timeoutOptions, name):
		k.setTimeout(name, val)
	case err == nil && level == tpacket.SolPacket && (name == tpacket.OptVnetHdr || name == tpacket.OptVnetHdrSz):
		if k.staged { // read is to get the header, or no longer
			k.unstage()
			k.stage()
		}
	}
	return option(level, err)
}

// setTimeout has receive calls, which are answered here, and read, which waits in
// the kernel for the stand-in, end after the time that SO_RCVTIMEO was set to.
func (k *socket) setTimeout(name int, val []byte) {
	if d, ok := parseTimeval(val); ok {
		k.timeout = d
	}
	if err := unix.SetsockoptString(k.end, unix.SOL_SOCKET, name, string(val)); err != nil {
		k.s.cfg.logf("packet socket: SO_RCVTIMEO: %v: read waits without a time-out", err)
	}
}

var timeoutOptions = []int{unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW}

func (c *call) getsockopt(k *socket) reply {
	n, err := c.optionRoom()
	if err != nil {
		return result(err)
	}
	level, name := int(c.int(1)), int(c.int(2))
	if level == unix.SOL_SOCKET && name == unix.SO_ATTACH_FILTER {
		return c.getFilter(k, int(n))
	}
	buf := make([]byte, min(n, maxOption))
	if level == tpacket.SolPacket && name == tpacket.OptHdrlen && n >= 4 {
		// The one option whose value is also an argument.
		if err := c.read(c.Args[3], buf[:4]); err != nil {
			return result(err)
		}
	}
	if !c.valid() {
		return reply{}
	}
	filled, err := k.rx.Getsockopt(level, name, buf)
	if level == unix.SOL_SOCKET && name == unix.SO_ERROR {
		k.refresh() // it has none any more
	}
	if err != nil {
		return option(level, err)
	}
	length, filling := fill{c.Args[4], bytes32(uint32(filled))}, fill{c.Args[3], buf[:filled]}
	if level == unix.SOL_SOCKET {
		return c.fill(filling, length) // in this order, which shows when the value cannot be written
	}
	return c.fill(length, filling)
}

// getFilter serves SO_GET_FILTER, whose length counts instructions.
func (c *call) getFilter(k *socket, room int) reply {
	if !c.valid() {
		return reply{}
	}
	prog, n, err := k.rx.GetFilter(room)
	if err != nil {
		return result(err)
	}
	return c.fill(fill{c.Args[3], layFilter(prog)}, fill{c.Args[4], bytes32(uint32(n))})
}

// option is a call's answer. Options of sockets in general that the namespace
// does not keep take effect on the stand-in.
func option(level int, err error) reply {
	if level == unix.SOL_SOCKET && err != nil && errnoOf(err) == unix.ENOPROTOOPT {
		return reply{}
	}
	return result(err)
}

func (c *call) attachFilter(k *socket, val []byte) reply {
	prog, err := c.program(val)
	if err != nil {
		return result(err)
	}
	if !c.valid() {
		return reply{}
	}
	return result(k.setFilter(prog))
}

// fanoutData serves PACKET_FANOUT_DATA. The socket says EFAULT when all is well
// but for the pointer, which is ours to follow.
func (c *call) fanoutData(k *socket, val []byte) reply {
	err := k.rx.Setsockopt(tpacket.SolPacket, tpacket.OptFanoutData, val)
	if err == nil || errnoOf(err) != unix.EFAULT {
		return result(err)
	}
	prog, err := c.program(val)
	if err != nil {
		return result(err)
	}
	if !c.valid() {
		return reply{}
	}
	return result(k.rx.SetFanoutProgram(prog))
}

// program reads the program that a sock_fprog points to.
func (c *call) program(val []byte) ([]cbpf.Instruction, error) {
	n, addr, err := parseFprog(val)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n*sizeofFilter)
	if err := c.read(addr, b); err != nil {
		return nil, err
	}
	return parseFilter(b), nil
}

const (
	sizeofFprog  = 16 // struct sock_fprog (linux/filter.h): length, padding, pointer
	sizeofFilter = 8  // struct sock_filter
)

// parseFprog reads a sock_fprog: how many instructions are where.
func parseFprog(val []byte) (n int, addr uint64, err error) {
	if len(val) != sizeofFprog {
		return 0, 0, unix.EINVAL
	}
	n, addr = int(binary.NativeEndian.Uint16(val)), binary.NativeEndian.Uint64(val[8:])
	if n == 0 || n > unix.BPF_MAXINSNS || addr == 0 {
		return 0, 0, unix.EINVAL
	}
	return n, addr, nil
}

// parseFilter reads an array of sock_filter.
func parseFilter(b []byte) []cbpf.Instruction {
	prog := make([]cbpf.Instruction, 0, len(b)/sizeofFilter)
	for in := range slices.Chunk(b, sizeofFilter) {
		if len(in) == sizeofFilter {
			prog = append(prog, cbpf.Instruction{
				Op: binary.NativeEndian.Uint16(in),
				Jt: in[2],
				Jf: in[3],
				K:  native32(in[4:]),
			})
		}
	}
	return prog
}

// layFilter lays out an array of sock_filter.
func layFilter(prog []cbpf.Instruction) (b []byte) {
	for _, in := range prog {
		b = binary.NativeEndian.AppendUint16(b, in.Op)
		b = append(b, in.Jt, in.Jf)
		b = binary.NativeEndian.AppendUint32(b, in.K)
	}
	return b
}

// setRing serves PACKET_RX_RING and PACKET_TX_RING.
func (c *call) setRing(k *socket, name int, val []byte) reply {
	s := c.s
	k.unstage()
	defer k.refresh() // from now on a packet wakes whoever polls already
	err := k.rx.Setsockopt(tpacket.SolPacket, name, val)
	if err != nil && errnoOf(err) == unix.ENOMEM && s.sweepNow() {
		err = k.rx.Setsockopt(tpacket.SolPacket, name, val)
	}
	if err != nil {
		if errnoOf(err) == unix.ENOMEM && !k.refused {
			k.refused = true // libpcap tries many times, with less
			s.cfg.logf("packet socket: %v", err)
		}
		return result(err)
	}
	if name == tpacket.OptTxRing {
		k.sends = k.rx.HasTxRing()
	} else {
		var g tpacket.Geometry
		if g, k.ringed = k.rx.Geometry(); k.ringed {
			k.report.HadRing, k.report.Geometry = true, g
		}
		k.staged = false // no packet stays in the queue
	}
	if !k.failed { // the stand-in's error is not for us to take
		k.rx.Disarm(&k.waker)
		k.drain(1 << 20)
		k.waker.taken()
	}
	return result(nil)
}
