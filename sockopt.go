package rxring

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// option names one socket option.
type option struct{ level, name int }

// intOption is an option that is an int to programs. What is set is kept in
// Socket.flags, and read back from there.
type intOption struct {
	name    string
	initial int32
	exact   bool // setting it takes an int and nothing longer

	// check turns what a program sets into what is kept, or refuses it; it is
	// called with the options locked. nil: the option cannot be set.
	check func(s *Socket, v int32) (int32, error)
}

// How most options take an int.
func flag(_ *Socket, v int32) (int32, error) { return int32(oneIf(v != 0)), nil }
func word(_ *Socket, v int32) (int32, error) { return v, nil }

func oneIf(on bool) uint8 {
	if on {
		return 1
	}
	return 0
}

// Setsockopt is the system call: val is the option's value as C lays it out. It
// is what interposed and attached programs reach; Go code has a typed method
// for each option that it needs. SO_ATTACH_FILTER is not here, because its value
// holds a pointer: AttachFilter.
func (s *Socket) Setsockopt(level, name int, val []byte) error {
	switch level {
	case solSocket:
		return s.setSocketOption(name, val)
	case tpacket.SolPacket:
		return s.setPacketOption(name, val)
	}
	return noOption(level, name)
}

// Getsockopt is the system call: len(buf) is the room that the caller offers,
// and buf's contents are read where the option takes an argument
// (PACKET_HDRLEN). It returns how many bytes it filled in. SO_GET_FILTER is not
// here, because it counts in instructions: GetFilter.
func (s *Socket) Getsockopt(level, name int, buf []byte) (int, error) {
	if level == tpacket.SolPacket && name == tpacket.OptStatistics {
		s.reportLost()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, ErrClosed
	}
	switch level {
	case solSocket:
		return s.socketOption(name, buf)
	case tpacket.SolPacket:
		return s.packetOption(name, buf)
	}
	return 0, noOption(level, name)
}

// setInt sets an option that is an int.
func (s *Socket) setInt(o option, c intOption, val []byte) error {
	if c.check == nil {
		return noOption(o.level, o.name)
	}
	v, err := intValue(val, c.exact)
	if err != nil {
		return fmt.Errorf("set %s: %w", c.name, err)
	}
	return s.do("set "+c.name, func() error {
		kept, err := c.check(s, v)
		if err != nil {
			return err
		}
		s.flags[o] = kept
		s.publish()
		return nil
	})
}

// getInt is an option that is an int. s.mu is held.
func (s *Socket) getInt(o option, c intOption) int32 {
	if v, ok := s.flags[o]; ok {
		return v
	}
	return c.initial
}

// putInt fills in as much of v as the caller has room for, as Linux does.
func putInt(buf []byte, v int32) (int, error) {
	return copy(buf, binary.NativeEndian.AppendUint32(nil, uint32(v))), nil
}

// intValue is the value of an option that takes an int.
func intValue(val []byte, exact bool) (int32, error) {
	if len(val) < 4 || exact && len(val) != 4 {
		return 0, explain.Errorf(syscall.EINVAL, "option value of %d bytes: want 4", len(val))
	}
	return int32(binary.NativeEndian.Uint32(val)), nil
}

func short(what string, val []byte, want int) error {
	return explain.Errorf(syscall.EINVAL, "%s: %d bytes: want at least %d", what, len(val), want)
}

func noOption(level, name int) error {
	return explain.Errorf(syscall.ENOPROTOOPT, "socket option %d at level %d is not served", name, level)
}
