package rxring

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// FanoutMode is how a fanout group chooses one of its members for a packet
// (PACKET_FANOUT_*, linux/if_packet.h).
type FanoutMode uint8

// The modes. Members are numbered from 0 in the order in which they joined; when
// one leaves, the last takes its number.
const (
	// FanoutHash keeps flows together: packets with the same two addresses, IP
	// protocol and two ports, whichever way they go, with any VLAN tags and
	// within tunnels that Linux looks into. Fragments have no ports: all those
	// between two hosts go together. As in Linux, Packet.Hash plays no part: a
	// card's hash need not be the same both ways.
	FanoutHash FanoutMode = tpacket.FanoutHash
	// FanoutLB takes the members in turn, the second one first.
	FanoutLB FanoutMode = tpacket.FanoutLB
	// FanoutCPU is member Packet.CPU, modulo members.
	FanoutCPU FanoutMode = tpacket.FanoutCPU
	// FanoutRollover fills one member's ring before it goes on to the next.
	FanoutRollover FanoutMode = tpacket.FanoutRollover
	// FanoutRnd is any member.
	FanoutRnd FanoutMode = tpacket.FanoutRnd
	// FanoutQM is member Packet.Queue, modulo members.
	FanoutQM FanoutMode = tpacket.FanoutQM
	// FanoutCBPF is the member that the program of SetFanoutProgram returns,
	// modulo members. Without a program it is member 0.
	FanoutCBPF FanoutMode = tpacket.FanoutCBPF
	// FanoutEBPF can be joined, but the group never gets its program: it is
	// member 0. Only a kernel runs eBPF.
	FanoutEBPF FanoutMode = tpacket.FanoutEBPF
)

// FanoutFlags change what a group does with packets before and after it chose a
// member (PACKET_FANOUT_FLAG_*). Linux keeps bits that it does not know, and so
// does a group.
type FanoutFlags uint16

const (
	// FanoutFlagRollover takes another member when the chosen one has no room.
	// Not with FanoutRollover, which does that anyway.
	FanoutFlagRollover FanoutFlags = tpacket.FanoutFlagRollover
	// FanoutFlagUniqueID makes a new group, with an id that is free.
	FanoutFlagUniqueID FanoutFlags = tpacket.FanoutFlagUniqueID
	// FanoutFlagIgnoreOutgoing keeps packets that this host sends from the
	// group. The members' own PACKET_IGNORE_OUTGOING does not count in one.
	FanoutFlagIgnoreOutgoing FanoutFlags = tpacket.FanoutFlagIgnoreOutgoing
	// FanoutFlagDefrag puts IPv4 fragments together before it chooses: members
	// see the whole packet, behind the first fragment's link-layer header.
	FanoutFlagDefrag FanoutFlags = tpacket.FanoutFlagDefrag
)

// FanoutConfig names a fanout group and says what it does. The zero value is
// group 0, by flow.
type FanoutConfig struct {
	ID    uint16
	Mode  FanoutMode
	Flags FanoutFlags

	// MaxMembers limits the group's members, to at most 65536. 0 means 256 for a new
	// group, and the group's limit for a socket that joins it.
	MaxMembers uint32
}

// Bounds of a group's members (PACKET_FANOUT_MAX, net/packet/internal.h; 256 is
// the limit of older kernels).
const (
	fanoutMax        = 1 << 16
	fanoutMaxDefault = 256
)

// JoinFanout puts the socket into a fanout group of its namespace, and of its
// grant's scope (PACKET_FANOUT), and makes the group if there is none of that id. From then on
// a packet for the group goes to one of its members, whose filter is run after
// the choice. A socket leaves its group when it is closed, and cannot be bound
// anew while it is in one.
//
// A group's choice does not depend on bytes outside its first member's grant, and the group
// receives nothing from a device outside a member's grant.
//
// EALREADY when it is in a group already; EINVAL for a mode or flags that Linux
// does not take, for a socket without a protocol, and when the group's mode,
// flags, bound, device or protocol are other ones; ENOSPC when the group is
// full; ENOMEM when no id is free for FanoutFlagUniqueID, and when the socket's
// [Budget] has no room for the fragments of FanoutFlagDefrag, 4 MiB.
func (s *Socket) JoinFanout(c FanoutConfig) error {
	s.reportLost() // what was lost before is the socket's own, and not the group's
	if s.isRunning() {
		s.flush() // and so is what came before; the rest is not lost, but the group's
	}
	return s.do("set PACKET_FANOUT", func() error { return s.joinLocked(c) })
}

// Fanout is the group that the socket is in, if any: its id, mode and flags, and
// the most members that it takes.
func (s *Socket) Fanout() (c FanoutConfig, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.group == nil {
		return FanoutConfig{}, false
	}
	return s.group.config, true
}

// SetFanoutProgram has prog choose the member for each packet of the socket's
// group from now on (PACKET_FANOUT_DATA): what it returns, modulo members.
//
// To the program a packet that comes in begins with its network header, and one
// that goes out with its link-layer header, as in Linux. EINVAL when the socket
// is in no FanoutCBPF group, or for a program that Linux refuses; EPERM once the
// socket's filter is locked, and under a [Grant] with a Filter or Snaplen.
func (s *Socket) SetFanoutProgram(prog []cbpf.Instruction) error {
	f, err := s.compileFilter(prog)
	return s.do("set PACKET_FANOUT_DATA", func() error {
		if why := s.checkFanoutDataLocked(FanoutCBPF); why != nil {
			return why
		}
		if err != nil {
			return err
		}
		if err := s.setProgramLocked(f, len(prog)); err != nil {
			return fmt.Errorf("program of %d instructions: %w", len(prog), err)
		}
		s.group.meter.Reset()
		return nil
	})
}

// setProgramLocked gives the socket's group a program of n instructions.
func (s *Socket) setProgramLocked(f *cbpf.Filter, n int) error {
	s.ns.mu.Lock()
	defer s.ns.mu.UnlockAndNotify()
	if err := s.group.programCharge.Replace(s.budgetLocked(), filterCost(n)); err != nil {
		return err
	}
	s.group.program.Store(f)
	return nil
}

// checkFanoutDataLocked returns why the socket's group accepts no data for mode, nil if it
// does.
func (s *Socket) checkFanoutDataLocked(mode FanoutMode) error {
	switch {
	case s.group == nil:
		return explain.Errorf(syscall.EINVAL, "the socket is in no fanout group, join one first")
	case s.grant.limitsBytes():
		return explain.Errorf(syscall.EPERM, "a fanout program would see packets outside the socket's grant")
	case s.filterLocked && (s.group.config.Mode == FanoutCBPF || s.group.config.Mode == FanoutEBPF):
		return errFilterLocked
	case s.group.config.Mode != mode:
		return explain.Errorf(syscall.EINVAL, "fanout mode %d: want %d", s.group.config.Mode, mode)
	}
	return nil
}

// rolloverStatsLocked returns how often the socket's group chose another member instead of
// this one (PACKET_ROLLOVER_STATS); with FanoutRollover all are counted at member 0. EINVAL
// if the socket is in no group that rolls over.
func (s *Socket) rolloverStatsLocked() (tpacket.RolloverStats, error) {
	if s.rolloverState == nil {
		return tpacket.RolloverStats{}, explain.Errorf(syscall.EINVAL, "the socket is in no fanout group that rolls over")
	}
	return s.rolloverState.stats(), nil
}

func (c FanoutConfig) check() error {
	if c.Mode > FanoutEBPF {
		return explain.Errorf(syscall.EINVAL, "fanout mode %d: want %d to %d", c.Mode, FanoutHash, FanoutEBPF)
	}
	if c.Mode == FanoutRollover && c.Flags&FanoutFlagRollover != 0 {
		return explain.Errorf(syscall.EINVAL, "fanout flags %#x: want no rollover flag with the rollover mode", c.Flags)
	}
	if c.Flags&0xff != 0 {
		return explain.Errorf(syscall.EINVAL, "fanout flags %#x: want the low 8 bits clear", c.Flags)
	}
	return nil
}

// sizeofFanoutArgs is struct fanout_args (linux/if_packet.h): id and type_flags,
// which together are one int in host byte order, and max_num_members. Older
// programs pass the int alone.
const sizeofFanoutArgs = 8

// parseFanout reads the value of PACKET_FANOUT.
func parseFanout(val []byte) (c FanoutConfig, err error) {
	if len(val) != 4 && len(val) != sizeofFanoutArgs {
		return c, explain.Errorf(syscall.EINVAL, "set PACKET_FANOUT: %d bytes: want 4 or %d", len(val), sizeofFanoutArgs)
	}
	v := binary.NativeEndian.Uint32(val)
	id, mode, flags := tpacket.ParseFanoutArgs(v)
	c = FanoutConfig{ID: id, Mode: FanoutMode(mode), Flags: FanoutFlags(flags)}
	if len(val) == sizeofFanoutArgs {
		c.MaxMembers = binary.NativeEndian.Uint32(val[4:])
	}
	return c, nil
}

// value is what PACKET_FANOUT reads back: the int that made the group.
func (c FanoutConfig) value() uint32 {
	return tpacket.FanoutArgs(c.ID, uint8(c.Mode), uint16(c.Flags))
}

func (s *Socket) setFanout(val []byte) error {
	c, err := parseFanout(val)
	if err != nil {
		return err
	}
	return s.JoinFanout(c)
}

// fanoutValueLocked is getsockopt of PACKET_FANOUT: 0 for a socket in no group.
func (s *Socket) fanoutValueLocked() int32 {
	if s.group == nil {
		return 0
	}
	return int32(s.group.config.value())
}

// setFanoutData is PACKET_FANOUT_DATA with everything but a program: a struct
// sock_fprog holds a pointer: callers that can follow it use SetFanoutProgram. For an
// eBPF group it is a descriptor, and what a process gets that may not load
// programs, and so has none.
func (s *Socket) setFanoutData(val []byte) error {
	const sizeofFprog = 16 // struct sock_fprog (linux/filter.h)
	return s.do("set PACKET_FANOUT_DATA", func() error {
		mode := FanoutCBPF
		if s.group != nil && s.group.config.Mode == FanoutEBPF {
			mode = FanoutEBPF
		}
		if err := s.checkFanoutDataLocked(mode); err != nil {
			return err
		}
		switch {
		case mode == FanoutEBPF && len(val) == 4:
			fd := int32(binary.NativeEndian.Uint32(val))
			if fd < 0 {
				return explain.Errorf(syscall.EBADF, "descriptor %d: want one of an eBPF program", fd)
			}
			return explain.Errorf(syscall.EINVAL, "descriptor %d: only a kernel runs eBPF, use a classic program", fd)
		case mode == FanoutEBPF:
			return explain.Errorf(syscall.EINVAL, "%d bytes: want 4", len(val))
		case len(val) != sizeofFprog:
			return explain.Errorf(syscall.EINVAL, "struct sock_fprog: %d bytes: want %d", len(val), sizeofFprog)
		case binary.NativeEndian.Uint16(val) == 0 || binary.NativeEndian.Uint64(val[8:]) == 0:
			return explain.Errorf(syscall.EINVAL, "struct sock_fprog: no instructions")
		}
		return explain.Errorf(syscall.EFAULT, "struct sock_fprog holds a pointer that is not followed here, use SetFanoutProgram")
	})
}
