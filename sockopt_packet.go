package rxring

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

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
}

func strictFlag(_ *Socket, v int32) (int32, error) {
	if v < 0 || v > 1 {
		return 0, explain.Errorf(syscall.EINVAL, "%d: want 0 or 1", v)
	}
	return v, nil
}

func flagBeforeRing(s *Socket, v int32) (int32, error) {
	if s.hasRing() {
		return 0, explain.Errorf(syscall.EBUSY, "%d: the socket has a ring already", v)
	}
	return flag(s, v)
}

// txHasOff: Linux ignores it when there is a ring, and says nothing.
func txHasOff(s *Socket, v int32) (int32, error) {
	if s.hasRing() {
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
		return s.SetReserve(uint32(v))
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

// packetOption is packet_getsockopt. s.mu is held.
func (s *Socket) packetOption(name int, buf []byte) (int, error) {
	if c, ok := packetInts[name]; ok {
		return putInt(buf, s.getInt(option{tpacket.SolPacket, name}, c))
	}
	switch name {
	case tpacket.OptStatistics:
		st := s.statistics()
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
		return putInt(buf, int32(oneIf(s.vnetLen != 0)))
	case tpacket.OptVnetHdrSz:
		return putInt(buf, int32(s.vnetLen))
	case tpacket.OptFanout:
		return putInt(buf, s.fanoutValue())
	case tpacket.OptRolloverStats:
		st, err := s.rolloverStats()
		if err != nil {
			return 0, err
		}
		return copy(buf, tpacket.Bytes(&st)), nil
	}
	return 0, noOption(tpacket.SolPacket, name)
}
