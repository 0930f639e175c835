package rxring

import (
	"encoding/binary"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

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
	c.ID, c.Mode, c.Flags = uint16(v), FanoutMode(v>>16), FanoutFlags(v>>16&^0xff)
	if len(val) == sizeofFanoutArgs {
		c.MaxMembers = binary.NativeEndian.Uint32(val[4:])
	}
	return c, nil
}

// value is what PACKET_FANOUT reads back: the int that made the group.
func (c FanoutConfig) value() uint32 {
	return uint32(c.ID) | uint32(c.Mode)<<16 | uint32(c.Flags)<<16
}

func (s *Socket) setFanout(val []byte) error {
	c, err := parseFanout(val)
	if err != nil {
		return err
	}
	return s.JoinFanout(c)
}

// fanoutValue is getsockopt of PACKET_FANOUT: 0 for a socket in no group. s.mu is
// held.
func (s *Socket) fanoutValue() int32 {
	if s.group == nil {
		return 0
	}
	return int32(s.group.config.value())
}

// setFanoutData is PACKET_FANOUT_DATA with everything but a program: a struct
// sock_fprog holds a pointer, so who can follow it calls SetFanoutProgram. For an
// eBPF group it is a descriptor, and what a process gets that may not load
// programs, and so has none.
func (s *Socket) setFanoutData(val []byte) error {
	const sizeofFprog = 16 // struct sock_fprog (linux/filter.h)
	return s.do("set PACKET_FANOUT_DATA", func() error {
		mode := FanoutCBPF
		if s.group != nil && s.group.config.Mode == FanoutEBPF {
			mode = FanoutEBPF
		}
		if err := s.fanoutData(mode); err != nil {
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
