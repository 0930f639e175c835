//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

const (
	sizeofFprog  = 16 // struct sock_fprog (linux/filter.h): length, padding, pointer
	sizeofFilter = 8  // struct sock_filter
)

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

// appendFilter appends an array of sock_filter.
func appendFilter(b []byte, prog []cbpf.Instruction) []byte {
	for _, in := range prog {
		b = binary.NativeEndian.AppendUint16(b, in.Op)
		b = append(b, in.Jt, in.Jf)
		b = binary.NativeEndian.AppendUint32(b, in.K)
	}
	return b
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
	prog, n, err := p.rx.GetFilter(room)
	if err != nil {
		return result(err)
	}
	return c.finish(piece{c.Args[3], appendFilter(nil, prog)}, piece{c.Args[4], bytes32(uint32(n))})
}

// setFanoutData serves PACKET_FANOUT_DATA. The socket returns EFAULT if all is well but
// for the pointer to the program, which we follow.
func (c *call) setFanoutData(p *packetSocket, val []byte) reply {
	if !c.valid() {
		return native
	}
	err := p.rx.Setsockopt(tpacket.SolPacket, tpacket.OptFanoutData, val)
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
	return result(p.rx.SetFanoutProgram(prog))
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
		now.before = p.rx.Totals().Filtered
	}
	if err := p.rx.AttachFilter(prog); err != nil {
		return err
	}
	if p.filter.acceptsNothing {
		p.report.Interim += p.rx.Totals().Filtered - p.filter.before
	}
	p.filter = now
	return nil
}

// acceptsNothing reports whether prog is BPF_RET|BPF_K with 0.
func acceptsNothing(prog []cbpf.Instruction) bool {
	return len(prog) == 1 && prog[0].Op == unix.BPF_RET|unix.BPF_K && prog[0].K == 0
}
