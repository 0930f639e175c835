package rxring

import (
	"fmt"
	"math"
	"slices"
	"syscall"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// AttachFilter replaces the socket's filter (SO_ATTACH_FILTER): EINVAL for a
// program that Linux refuses, or [cbpf.CompileBounded] if the socket has an [Account]; EPERM
// once the filter is locked.
func (s *Socket) AttachFilter(prog []cbpf.Instruction) error {
	f, err := s.compileFilter(prog)
	return s.do("set SO_ATTACH_FILTER", func() error {
		if s.filterLocked {
			return errFilterLocked
		}
		if err != nil {
			return err
		}
		if err := s.filterCharge.Replace(s.budgetLocked(), filterCost(len(prog))); err != nil {
			return fmt.Errorf("filter of %d instructions: %w", len(prog), err)
		}
		s.filter, s.program = f, slices.Clone(prog)
		s.publishLocked()
		s.ns.notifyFilterChange(s)
		return nil
	})
}

// compileFilter compiles a program that is to run for the socket.
func (s *Socket) compileFilter(prog []cbpf.Instruction) (*cbpf.Filter, error) {
	s.mu.Lock()
	of := s.grant.account()
	s.mu.Unlock()
	if of != nil {
		return cbpf.CompileBounded(prog)
	}
	return cbpf.Compile(prog)
}

// DetachFilter removes the filter (SO_DETACH_FILTER): ENOENT when there is
// none, EPERM once it is locked.
func (s *Socket) DetachFilter() error {
	return s.do("set SO_DETACH_FILTER", func() error {
		if s.filterLocked {
			return errFilterLocked
		}
		if s.filter == nil {
			return explain.Errorf(syscall.ENOENT, "no filter is attached")
		}
		s.filter, s.program = nil, nil
		s.filterCharge.Release()
		s.publishLocked()
		s.ns.notifyFilterChange(s)
		return nil
	})
}

// GetFilter is SO_GET_FILTER, which is SO_ATTACH_FILTER's number to getsockopt: n
// is how many instructions the filter has, 0 without one, and prog is them, if
// there is room for so many; with room for none, only n is asked for. EINVAL when
// there is too little room.
func (s *Socket) GetFilter(room int) (prog []cbpf.Instruction, n int, err error) {
	err = s.do("get SO_GET_FILTER", func() error {
		n = len(s.program)
		switch {
		case n == 0 || room == 0:
			return nil
		case room < n:
			return explain.Errorf(syscall.EINVAL, "room for %d instructions: want at least %d", room, n)
		}
		prog = slices.Clone(s.program)
		return nil
	})
	if err != nil {
		n = 0
	}
	return prog, n, err
}

// lockFilter makes the filter, or its absence, permanent (SO_LOCK_FILTER). A locked filter
// cannot be unlocked.
func (s *Socket) lockFilter(lock bool) error {
	return s.do("set SO_LOCK_FILTER", func() error {
		if s.filterLocked && !lock {
			return errFilterLocked
		}
		s.filterLocked = lock
		return nil
	})
}

var errFilterLocked = explain.Errorf(syscall.EPERM, "the socket's filter is locked")

// filterCost returns what a program of n instructions is charged, in bytes: for the program
// and its compiled form.
func filterCost(n int) int64 { return int64(n) * 64 }

// Filters returns the different filters of the device's sockets. A source need not deliver a
// packet that all of them, run as on a SOCK_RAW socket for all protocols, refuse: no socket
// would accept it. If all is true the source must deliver every packet: a socket accepts any
// packet, or its choice cannot be expressed as a filter.
//
// A source runs the filters for every packet that it sees. So none of them belongs to a socket
// with an [Account] and has more than 96 instructions or a load that searches the packet
// ([cbpf.Walks]), and there are at most 16.
func (d *Device) Filters() (programs [][]cbpf.Instruction, all bool) {
	d.ns.mu.Lock()
	defer d.ns.mu.UnlockAndNotify()
	taps := d.taps.Load()
	if taps == nil {
		return nil, false
	}
	for _, t := range *taps {
		sockets := []*Socket{t.socket}
		if t.group != nil {
			if t.group.defrag != nil {
				return nil, true // the filters see reassembled packets
			}
			sockets = *t.group.members.Load()
		}
		if t.protocol() != tpacket.ETHPAll {
			return nil, true // such sockets see no VLAN tags
		}
		for _, s := range sockets {
			p := d.sourceFilter(s)
			if p == nil {
				return nil, true
			}
			if !slices.ContainsFunc(programs, func(q []cbpf.Instruction) bool { return slices.Equal(p, q) }) {
				programs = append(programs, p)
			}
			if len(programs) > maxFilters {
				return nil, true
			}
		}
	}
	return programs, false
}

const (
	// maxFilters is how many different filters Filters returns at most.
	maxFilters = 16
	// maxShortFilter is the most instructions of a filter of a socket with an Account that
	// Filters returns.
	maxShortFilter = 96
	// maxInstructions is BPF_MAXINSNS.
	maxInstructions = 4096
)

// sourceFilter returns a filter that refuses, from the link-layer header on, only packets that
// the socket would not accept; nil: there is none. With a grant that hides bytes it is the
// grant's: the socket's own filter would show what hidden bytes are by how many packets
// arrive.
func (d *Device) sourceFilter(s *Socket) []cbpf.Instruction {
	rx := s.rx.Load()
	if rx.grant.limitsBytes() {
		if rx.grant.filter == nil {
			return nil
		}
		return rx.grant.filter.Program()
	}
	if rx.filter == nil {
		return nil
	}
	p := rx.filter.Program()
	if s.typ == SockDgram {
		p = d.fromLinkHeader(p)
	}
	if s.grant.account() != nil && (len(p) > maxShortFilter || cbpf.Walks(p) > 0) {
		return nil
	}
	return p
}

// fromLinkHeader returns a filter that refuses, from the link-layer header on, only packets that
// a SOCK_DGRAM socket's filter refuses, which is run from the network header on; nil if there is
// none.
func (d *Device) fromLinkHeader(prog []cbpf.Instruction) []cbpf.Instruction {
	if !d.ethernet() {
		p, _ := cbpf.Shifted(prog, cbpf.NetOff, math.MaxUint32)
		return p
	}
	p, ok := cbpf.Shifted(prog, etherLen, etherLen)
	if p = append(acceptOutgoingTagged(prog), p...); !ok || len(p) > maxInstructions {
		return nil
	}
	return p
}

// acceptOutgoingTagged returns the beginning of a program. It accepts, with as many bytes as prog
// at most returns, outgoing packets with VLAN tags in the frame, which belong to its link-layer
// header.
func acceptOutgoingTagged(prog []cbpf.Instruction) []cbpf.Instruction {
	keep := uint32(0)
	for _, in := range prog {
		switch in.Op {
		case cbpf.OpRetK:
			keep = max(keep, in.K)
		case cbpf.OpRetA:
			keep = math.MaxUint32
		}
	}
	keep += min(etherLen+maxTags*vlanLen, math.MaxUint32-keep)
	return []cbpf.Instruction{
		{Op: cbpf.OpLdAbsW, K: cbpf.AdOff + cbpf.AdPktType},
		{Op: cbpf.OpJEQ, K: uint32(tpacket.PacketOutgoing), Jf: 4},
		{Op: cbpf.OpLdAbsH, K: tagOffset},
		{Op: cbpf.OpJEQ, K: tpacket.ETHP8021Q, Jt: 1},
		{Op: cbpf.OpJEQ, K: tpacket.ETHP8021AD, Jf: 1},
		{Op: cbpf.OpRetK, K: keep},
		{Op: cbpf.OpLdImm}, // A is 0 at the beginning of a program
	}
}

// notifyFilterChange is called when a socket's filter was replaced.
func (ns *Namespace) notifyFilterChange(s *Socket) {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	if !s.running {
		return
	}
	for _, d := range ns.devices.matching(int(s.ifindex.Load())) {
		ns.mu.notifyLocked(d)
	}
}
