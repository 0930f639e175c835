package rxring

import (
	"encoding/binary"
	"fmt"
	"math"
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
func flag(_ *Socket, v int32) (int32, error) { return int32(boolByte(v != 0)), nil }
func word(_ *Socket, v int32) (int32, error) { return v, nil }

func boolByte(on bool) uint8 {
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
	case tpacket.SolSocket:
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
	case tpacket.SolSocket:
		return s.socketOptionLocked(name, buf)
	case tpacket.SolPacket:
		return s.packetOptionLocked(name, buf)
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
		s.publishLocked()
		return nil
	})
}

// intOptionLocked returns the value of an option that is an int.
func (s *Socket) intOptionLocked(o option, c intOption) int32 {
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

// SetVersion chooses the format of the ring to come (PACKET_VERSION): EBUSY
// when there is a ring already.
func (s *Socket) SetVersion(v tpacket.Version) error {
	return s.do("set PACKET_VERSION", func() error {
		if v > tpacket.V3 {
			return explain.Errorf(syscall.EINVAL, "%v: want V1, V2 or V3", v)
		}
		if s.hasRingLocked() {
			return explain.Errorf(syscall.EBUSY, "%v: the socket has a ring already", v)
		}
		s.version = v
		s.publishLocked()
		return nil
	})
}

// setReserve asks for n bytes of headroom before each packet in the ring to
// come (PACKET_RESERVE): EBUSY when there is a ring already.
func (s *Socket) setReserve(n uint32) error {
	return s.do("set PACKET_RESERVE", func() error {
		if n > math.MaxInt32 {
			return explain.Errorf(syscall.EINVAL, "%d: want at most %d bytes", n, math.MaxInt32)
		}
		if s.hasRingLocked() {
			return explain.Errorf(syscall.EBUSY, "%d: the socket has a ring already", n)
		}
		s.reserve = n
		s.publishLocked()
		return nil
	})
}

// setVnetHeader asks for a struct virtio_net_hdr of n bytes, 10 or 12, in front
// of each packet, 0 for none (PACKET_VNET_HDR_SZ): EINVAL on a SOCK_DGRAM socket,
// EBUSY when there is a ring already. In the 12 bytes of a ring, as in Linux, the
// header's 10 are the last, and the first two are left as they were.
func (s *Socket) setVnetHeader(n int) error {
	return s.do("set PACKET_VNET_HDR_SZ", func() error {
		if s.typ != SockRaw {
			return explain.Errorf(syscall.EINVAL, "SOCK_DGRAM socket: want a SOCK_RAW one")
		}
		if n != 0 && n != sizeofVnetHeader && n != sizeofVnetMrg {
			return explain.Errorf(syscall.EINVAL, "%d bytes: want 0, %d or %d", n, sizeofVnetHeader, sizeofVnetMrg)
		}
		if s.hasRingLocked() {
			return explain.Errorf(syscall.EBUSY, "%d bytes: the socket has a ring already", n)
		}
		s.vnetLen = uint32(n)
		s.publishLocked()
		return nil
	})
}

// setVnetHdr is setVnetHeader by its two numbers, with Linux's order of checks.
func (s *Socket) setVnetHdr(size bool, val []byte) error {
	if s.typ != SockRaw {
		return s.setVnetHeader(0) // which says why not
	}
	if len(val) < 4 {
		return short("set PACKET_VNET_HDR", val, 4)
	}
	n := int(int32(binary.NativeEndian.Uint32(val)))
	if !size && n != 0 {
		n = sizeofVnetHeader
	}
	return s.setVnetHeader(n)
}

// packetInts are the options of SOL_PACKET that are kept as they are set.
// PACKET_TIMESTAMP has no effect, since no packet has a hardware's time; nor has
// PACKET_ORIGDEV, since no device is on top of another.
var packetInts = map[int]intOption{
	tpacket.OptCopyThresh:     {name: "PACKET_COPY_THRESH", exact: true, check: word},
	tpacket.OptAuxdata:        {name: "PACKET_AUXDATA", check: flag},
	tpacket.OptOrigdev:        {name: "PACKET_ORIGDEV", check: flag},
	tpacket.OptLoss:           {name: "PACKET_LOSS", exact: true, check: flagBeforeRing},
	tpacket.OptTimestamp:      {name: "PACKET_TIMESTAMP", exact: true, check: word},
	tpacket.OptTxHasOff:       {name: "PACKET_TX_HAS_OFF", exact: true, check: txHasOff},
	tpacket.OptQdiscBypass:    {name: "PACKET_QDISC_BYPASS", exact: true, check: flag},
	tpacket.OptIgnoreOutgoing: {name: "PACKET_IGNORE_OUTGOING", exact: true, check: strictFlag},
	tpacket.OptComments:       {name: "comments", exact: true, check: strictFlag},
}

func strictFlag(_ *Socket, v int32) (int32, error) {
	if v < 0 || v > 1 {
		return 0, explain.Errorf(syscall.EINVAL, "%d: want 0 or 1", v)
	}
	return v, nil
}

func flagBeforeRing(s *Socket, v int32) (int32, error) {
	if s.hasRingLocked() {
		return 0, explain.Errorf(syscall.EBUSY, "%d: the socket has a ring already", v)
	}
	return flag(s, v)
}

// txHasOff: Linux ignores it when there is a ring, and says nothing.
func txHasOff(s *Socket, v int32) (int32, error) {
	if s.hasRingLocked() {
		return s.flags[option{tpacket.SolPacket, tpacket.OptTxHasOff}], nil
	}
	return flag(s, v)
}

// setPacketOption is packet_setsockopt (net/packet/af_packet.c).
func (s *Socket) setPacketOption(name int, val []byte) error {
	if c, ok := packetInts[name]; ok {
		return s.setInt(option{tpacket.SolPacket, name}, c, val)
	}
	switch name {
	case tpacket.OptAddMembership:
		return s.setMembership(val, true)
	case tpacket.OptDropMembership:
		return s.setMembership(val, false)
	case tpacket.OptRxRing:
		return s.setRxRing(val)
	case tpacket.OptTxRing:
		return s.setTxRing(val)
	case tpacket.OptVersion:
		v, err := intValue(val, true)
		if err != nil {
			return fmt.Errorf("set PACKET_VERSION: %w", err)
		}
		return s.SetVersion(tpacket.Version(v))
	case tpacket.OptReserve:
		v, err := intValue(val, true)
		if err != nil {
			return fmt.Errorf("set PACKET_RESERVE: %w", err)
		}
		return s.setReserve(uint32(v))
	case tpacket.OptVnetHdr:
		return s.setVnetHdr(false, val)
	case tpacket.OptVnetHdrSz:
		return s.setVnetHdr(true, val)
	case tpacket.OptFanout:
		return s.setFanout(val)
	case tpacket.OptFanoutData:
		return s.setFanoutData(val)
	}
	return noOption(tpacket.SolPacket, name)
}

// ringRequest is a struct tpacket_req, or a struct tpacket_req3 on a V3 socket.
func (s *Socket) ringRequest(val []byte) (tpacket.Req3, error) {
	s.mu.Lock()
	v := s.version
	s.mu.Unlock()
	if v == tpacket.V3 {
		if len(val) < tpacket.SizeofReq3 {
			return tpacket.Req3{}, short("struct tpacket_req3", val, tpacket.SizeofReq3)
		}
		return tpacket.Parse[tpacket.Req3](val), nil
	}
	if len(val) < tpacket.SizeofReq {
		return tpacket.Req3{}, short("struct tpacket_req", val, tpacket.SizeofReq)
	}
	return tpacket.Req3{Req: tpacket.Parse[tpacket.Req](val)}, nil
}

func (s *Socket) setRxRing(val []byte) error {
	r, err := s.ringRequest(val)
	if err != nil {
		return err
	}
	return s.SetRxRing3(r)
}

// packetOptionLocked is packet_getsockopt.
func (s *Socket) packetOptionLocked(name int, buf []byte) (int, error) {
	if c, ok := packetInts[name]; ok {
		return putInt(buf, s.intOptionLocked(option{tpacket.SolPacket, name}, c))
	}
	switch name {
	case tpacket.OptStatistics:
		st := s.statisticsLocked()
		b := tpacket.Bytes(&st)
		if s.version != tpacket.V3 {
			b = b[:tpacket.SizeofStats] // struct tpacket_stats is how it begins
		}
		return copy(buf, b), nil
	case tpacket.OptHdrlen:
		if len(buf) < 4 {
			return 0, short("PACKET_HDRLEN", buf, 4)
		}
		version := tpacket.Version(binary.NativeEndian.Uint32(buf))
		if version > tpacket.V3 {
			return 0, explain.Errorf(syscall.EINVAL, "get PACKET_HDRLEN: %v: want V1, V2 or V3", version)
		}
		return putInt(buf, int32(version.HeaderSize()))
	case tpacket.OptVersion:
		return putInt(buf, int32(s.version))
	case tpacket.OptReserve:
		return putInt(buf, int32(s.reserve))
	case tpacket.OptVnetHdr:
		return putInt(buf, int32(boolByte(s.vnetLen != 0)))
	case tpacket.OptVnetHdrSz:
		return putInt(buf, int32(s.vnetLen))
	case tpacket.OptFanout:
		return putInt(buf, s.fanoutValueLocked())
	case tpacket.OptRolloverStats:
		st, err := s.rolloverStatsLocked()
		if err != nil {
			return 0, err
		}
		return copy(buf, tpacket.Bytes(&st)), nil
	}
	return 0, noOption(tpacket.SolPacket, name)
}
