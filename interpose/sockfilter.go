//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// sizeofFprog is the size of struct sock_fprog (linux/filter.h): length, padding, pointer.
const sizeofFprog = 16

// program reads the program that a sock_fprog points to.
func (c *call) program(val []byte) ([]cbpf.Instruction, error) {
	n, addr, err := parseFprog(val)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n*cbpf.SizeofInstruction)
	if err := c.read(addr, b); err != nil {
		return nil, err
	}
	return cbpf.ParseBytes(b), nil
}

// parseFprog reads a sock_fprog: n instructions are at addr.
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

// attachFilter serves SO_ATTACH_FILTER.
func (c *call) attachFilter(p *packetSocket, val []byte) reply {
	prog, err := c.program(val)
	if err != nil {
		return result(err)
	}
	if !c.valid() {
		return native
	}
	return result(p.setFilter(prog))
}

// getFilter serves SO_GET_FILTER, whose length counts instructions.
func (c *call) getFilter(p *packetSocket, room int) reply {
	if !c.valid() {
		return native
	}
	prog, n, err := p.backend.GetFilter(room)
	if err != nil {
		return result(err)
	}
	return c.finish(piece{c.Args[3], cbpf.AppendBytes(nil, prog)}, piece{c.Args[4], bytes32(uint32(n))})
}

// setFanoutData serves PACKET_FANOUT_DATA. The socket returns EFAULT if all is well but
// for the pointer to the program, which we follow.
func (c *call) setFanoutData(p *packetSocket, val []byte) reply {
	if !c.valid() {
		return native
	}
	err := p.backend.Setsockopt(tpacket.SolPacket, tpacket.OptFanoutData, val)
	if err == nil || errnoOf(err) != unix.EFAULT {
		return result(err)
	}
	prog, err := c.program(val)
	if err != nil {
		return result(err)
	}
	if !c.valid() {
		return native
	}
	return result(p.backend.SetFanoutProgram(prog))
}

// filterCounts counts the packets that were refused by a filter that accepts nothing.
type filterCounts struct {
	acceptsNothing bool   // the filter that is set does
	before         uint64 // packets that were refused before it was set
}

// setFilter replaces the socket's filter, and counts the packets that were refused while
// it accepted nothing. libpcap has every socket accept nothing, discards the packets that
// were received already, and then sets its user's filter. Without these counts, a program
// that has no filter seems to have refused packets.
func (p *packetSocket) setFilter(prog []cbpf.Instruction) error {
	now := filterCounts{acceptsNothing: acceptsNothing(prog)}
	if now.acceptsNothing {
		now.before = p.backend.Totals().Filtered
	}
	if err := p.backend.AttachFilter(prog); err != nil {
		return err
	}
	if p.filter.acceptsNothing {
		p.report.Interim += p.backend.Totals().Filtered - p.filter.before
	}
	p.filter = now
	return nil
}

// acceptsNothing reports whether prog is BPF_RET|BPF_K with 0.
func acceptsNothing(prog []cbpf.Instruction) bool {
	return len(prog) == 1 && prog[0].Op == cbpf.OpRetK && prog[0].K == 0
}
