package rxring

import (
	"encoding/binary"
	"fmt"
	"math"
	"syscall"

	"github.com/rxring/rxring/tpacket"
)

// Socket level and options of asm-generic/socket.h that packet sockets serve.
const (
	solSocket = 1 // SOL_SOCKET

	soType          = 3  // SO_TYPE
	soError         = 4  // SO_ERROR
	soRcvbuf        = 8  // SO_RCVBUF
	soRcvtimeo      = 20 // SO_RCVTIMEO
	soAttachFilter  = 26 // SO_ATTACH_FILTER
	soDetachFilter  = 27 // SO_DETACH_FILTER
	soTimestamp     = 29 // SO_TIMESTAMP
	soTimestampNS   = 35 // SO_TIMESTAMPNS
	soRxqOvfl       = 40 // SO_RXQ_OVFL
	soProtocol      = 38 // SO_PROTOCOL
	soDomain        = 39 // SO_DOMAIN
	soLockFilter    = 44 // SO_LOCK_FILTER
	soBPFExtensions = 48 // SO_BPF_EXTENSIONS

	skfAdMax = 64 // SKF_AD_MAX (linux/filter.h): what SO_BPF_EXTENSIONS returns

	esocktnosupport = 94 // ESOCKTNOSUPPORT, which not every system's syscall names
)

// option names one socket option.
type option struct{ level, name int }

// booleans are the options that are one flag each: any int but 0 sets them.
// None of them changes what a ring shows except PACKET_IGNORE_OUTGOING.
var booleans = map[option]string{
	{tpacket.SolPacket, tpacket.OptAuxdata}: "PACKET_AUXDATA",
	{tpacket.SolPacket, tpacket.OptOrigdev}: "PACKET_ORIGDEV",
	{solSocket, soTimestamp}:                "SO_TIMESTAMP",
	{solSocket, soTimestampNS}:              "SO_TIMESTAMPNS",
	{solSocket, soRxqOvfl}:                  "SO_RXQ_OVFL",
}

// Bounds of SO_RCVBUF with Linux's defaults (net.core.rmem_default, rmem_max;
// SOCK_MIN_RCVBUF).
const (
	rcvbufDefault = 212992
	rcvbufMax     = 4 << 20
	rcvbufMin     = 2304
)

// Setsockopt is the system call: val is the option's value as C lays it out. It
// is what interposed and attached programs reach; Go code has a typed method
// for each option that it needs. SO_ATTACH_FILTER is not here, because its value
// holds a pointer: AttachFilter.
func (s *Socket) Setsockopt(level, name int, val []byte) error {
	o := option{level, name}
	if level == solSocket && len(val) < 4 {
		return short(fmt.Sprintf("set socket option %d", name), val, 4) // whatever the option, known or not
	}
	if label, ok := booleans[o]; ok {
		return s.setInt(o, "set "+label, val, func(v int32) (int32, error) {
			if v != 0 {
				v = 1
			}
			if o.name == soRxqOvfl {
				s.queue.tellDrops.Store(v != 0)
			}
			return v, nil
		})
	}
	switch o {
	case option{tpacket.SolPacket, tpacket.OptVersion}:
		v, err := exactInt(val)
		if err != nil {
			return err
		}
		return s.SetVersion(tpacket.Version(v))
	case option{tpacket.SolPacket, tpacket.OptReserve}:
		v, err := exactInt(val)
		if err != nil {
			return err
		}
		return s.SetReserve(uint32(v))
	case option{tpacket.SolPacket, tpacket.OptRxRing}:
		return s.setRxRing(val)
	case option{tpacket.SolPacket, tpacket.OptVnetHdr}:
		return s.setVnetHdr(false, val)
	case option{tpacket.SolPacket, tpacket.OptVnetHdrSz}:
		return s.setVnetHdr(true, val)
	case option{tpacket.SolPacket, tpacket.OptAddMembership}:
		return s.setMembership(val, true)
	case option{tpacket.SolPacket, tpacket.OptDropMembership}:
		return s.setMembership(val, false)
	case option{tpacket.SolPacket, tpacket.OptIgnoreOutgoing}:
		if _, err := exactInt(val); err != nil {
			return err
		}
		return s.setInt(o, "set PACKET_IGNORE_OUTGOING", val, func(v int32) (int32, error) {
			if v < 0 || v > 1 {
				return 0, fmt.Errorf("%d: want 0 or 1: %w", v, syscall.EINVAL)
			}
			return v, nil
		})
	case option{tpacket.SolPacket, tpacket.OptFanout}:
		return s.setFanout(val)
	case option{tpacket.SolPacket, tpacket.OptFanoutData}:
		return s.setFanoutData(val)
	case option{tpacket.SolPacket, tpacket.OptTimestamp}, option{tpacket.SolPacket, tpacket.OptCopyThresh}:
		if _, err := exactInt(val); err != nil {
			return err
		}
		return s.setInt(o, "set PACKET_TIMESTAMP or PACKET_COPY_THRESH", val, func(v int32) (int32, error) { return v, nil })
	case option{solSocket, soRcvbuf}:
		return s.setInt(o, "set SO_RCVBUF", val, func(v int32) (int32, error) {
			// Linux doubles it, for its own bookkeeping.
			v = int32(max(2*min(uint32(v), rcvbufMax), rcvbufMin))
			s.queue.limit.Store(int64(v))
			return v, nil
		})
	case option{solSocket, soRcvtimeo}:
		return s.setTimeout(val)
	case option{solSocket, soDetachFilter}:
		return s.DetachFilter()
	case option{solSocket, soLockFilter}:
		return s.setLockFilter(val)
	}
	return noOption(level, name)
}

// Getsockopt is the system call: len(buf) is the room that the caller offers,
// and buf's contents are read where the option takes an argument
// (PACKET_HDRLEN). It returns how many bytes it filled in.
func (s *Socket) Getsockopt(level, name int, buf []byte) (int, error) {
	o := option{level, name}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, ErrClosed
	}
	var v int32
	switch o {
	case option{tpacket.SolPacket, tpacket.OptStatistics}:
		st := s.statistics()
		b := tpacket.Bytes(&st)
		if s.version != tpacket.V3 {
			b = b[:tpacket.SizeofStats] // struct tpacket_stats is how it begins
		}
		return copy(buf, b), nil
	case option{tpacket.SolPacket, tpacket.OptHdrlen}:
		if len(buf) < 4 {
			return 0, short("PACKET_HDRLEN", buf, 4)
		}
		version := tpacket.Version(binary.NativeEndian.Uint32(buf))
		if version > tpacket.V3 {
			return 0, fmt.Errorf("get PACKET_HDRLEN: %v: want V1, V2 or V3: %w", version, syscall.EINVAL)
		}
		v = int32(version.HeaderSize())
	case option{tpacket.SolPacket, tpacket.OptVersion}:
		v = int32(s.version)
	case option{tpacket.SolPacket, tpacket.OptReserve}:
		v = int32(s.reserve)
	case option{tpacket.SolPacket, tpacket.OptVnetHdr}:
		if s.vnetLen != 0 {
			v = 1
		}
	case option{tpacket.SolPacket, tpacket.OptVnetHdrSz}:
		v = int32(s.vnetLen)
	case option{tpacket.SolPacket, tpacket.OptIgnoreOutgoing}, option{tpacket.SolPacket, tpacket.OptTimestamp}, option{tpacket.SolPacket, tpacket.OptCopyThresh}:
		v = s.flags[o]
	case option{tpacket.SolPacket, tpacket.OptFanout}:
		v = s.fanoutValue()
	case option{tpacket.SolPacket, tpacket.OptRolloverStats}:
		st, err := s.rolloverStats()
		if err != nil {
			return 0, err
		}
		return copy(buf, tpacket.Bytes(&st)), nil
	case option{solSocket, soType}:
		v = int32(s.typ)
	case option{solSocket, soDomain}:
		v = tpacket.AFPacket
	case option{solSocket, soProtocol}:
		v = 0 // packet sockets leave sk_protocol alone
	case option{solSocket, soError}:
		v = int32(s.err)
		s.err = 0
	case option{solSocket, soRcvbuf}:
		v = int32(s.queue.limit.Load())
	case option{solSocket, soRcvtimeo}:
		var tv [16]byte
		binary.NativeEndian.PutUint64(tv[:], uint64(s.flags[o]))
		binary.NativeEndian.PutUint64(tv[8:], uint64(s.flags[rcvtimeoMicros]))
		return copy(buf, tv[:]), nil
	case option{solSocket, soLockFilter}:
		if s.filterLocked {
			v = 1
		}
	case option{solSocket, soBPFExtensions}:
		v = skfAdMax
	default:
		if _, ok := booleans[o]; !ok {
			return 0, noOption(level, name)
		}
		v = s.flags[o]
	}
	return copy(buf, binary.NativeEndian.AppendUint32(nil, uint32(v))), nil
}

// setRxRing takes a struct tpacket_req, or a struct tpacket_req3 on a V3 socket.
func (s *Socket) setRxRing(val []byte) error {
	s.mu.Lock()
	v := s.version
	s.mu.Unlock()
	if v == tpacket.V3 {
		if len(val) < tpacket.SizeofReq3 {
			return short("struct tpacket_req3", val, tpacket.SizeofReq3)
		}
		return s.SetRxRing3(tpacket.Parse[tpacket.Req3](val))
	}
	if len(val) < tpacket.SizeofReq {
		return short("struct tpacket_req", val, tpacket.SizeofReq)
	}
	return s.SetRxRing(tpacket.Parse[tpacket.Req](val))
}

func (s *Socket) setInt(o option, op string, val []byte, check func(int32) (int32, error)) error {
	if len(val) < 4 {
		return short(op, val, 4)
	}
	return s.do(op, func() error {
		v, err := check(int32(binary.NativeEndian.Uint32(val)))
		if err != nil {
			return err
		}
		s.flags[o] = v
		s.publish()
		return nil
	})
}

// setLockFilter follows Linux: once locked, a lock cannot be taken off.
func (s *Socket) setLockFilter(val []byte) error {
	if len(val) < 4 {
		return short("set SO_LOCK_FILTER", val, 4)
	}
	lock := binary.NativeEndian.Uint32(val) != 0
	return s.do("set SO_LOCK_FILTER", func() error {
		if s.filterLocked && !lock {
			return errFilterLocked
		}
		s.filterLocked = lock
		return nil
	})
}

// rcvtimeoMicros keeps the second half of SO_RCVTIMEO's struct timeval.
var rcvtimeoMicros = option{solSocket, -soRcvtimeo}

func (s *Socket) setTimeout(val []byte) error {
	if len(val) < 16 {
		return short("set SO_RCVTIMEO", val, 16)
	}
	sec := int64(binary.NativeEndian.Uint64(val))
	usec := int64(binary.NativeEndian.Uint64(val[8:]))
	return s.do("set SO_RCVTIMEO", func() error {
		if usec < 0 || usec >= 1e6 {
			return fmt.Errorf("%d microseconds: want 0 to 999999: %w", usec, syscall.EDOM)
		}
		if sec < 0 { // Linux: times out at once
			sec, usec = 0, 0
		}
		s.flags[option{solSocket, soRcvtimeo}] = int32(min(sec, math.MaxInt32))
		s.flags[rcvtimeoMicros] = int32(usec)
		return nil
	})
}

// exactInt is the value of an option that takes an int and nothing else.
func exactInt(val []byte) (int32, error) {
	if len(val) != 4 {
		return 0, fmt.Errorf("option value of %d bytes: want 4: %w", len(val), syscall.EINVAL)
	}
	return int32(binary.NativeEndian.Uint32(val)), nil
}

func short(what string, val []byte, want int) error {
	return fmt.Errorf("%s: %d bytes: want at least %d: %w", what, len(val), want, syscall.EINVAL)
}

func noOption(level, name int) error {
	return fmt.Errorf("socket option %d at level %d is not served: %w", name, level, syscall.ENOPROTOOPT)
}
