package rxring

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// Options of SOL_SOCKET (asm-generic/socket.h).
const (
	soDebug          = 1  // SO_DEBUG
	soReuseaddr      = 2  // SO_REUSEADDR
	soType           = 3  // SO_TYPE
	soDontroute      = 5  // SO_DONTROUTE
	soBroadcast      = 6  // SO_BROADCAST
	soSndbuf         = 7  // SO_SNDBUF
	soRcvbuf         = 8  // SO_RCVBUF
	soKeepalive      = 9  // SO_KEEPALIVE
	soOobinline      = 10 // SO_OOBINLINE
	soNoCheck        = 11 // SO_NO_CHECK
	soPriority       = 12 // SO_PRIORITY
	soBsdcompat      = 14 // SO_BSDCOMPAT
	soReuseport      = 15 // SO_REUSEPORT
	soPasscred       = 16 // SO_PASSCRED
	soPeercred       = 17 // SO_PEERCRED
	soRcvlowat       = 18 // SO_RCVLOWAT
	soSndlowat       = 19 // SO_SNDLOWAT
	soRcvtimeo       = 20 // SO_RCVTIMEO_OLD
	soSndtimeo       = 21 // SO_SNDTIMEO_OLD
	soBindtodevice   = 25 // SO_BINDTODEVICE
	soDetachFilter   = 27 // SO_DETACH_FILTER
	soPeername       = 28 // SO_PEERNAME
	soTimestamp      = 29 // SO_TIMESTAMP_OLD
	soAcceptconn     = 30 // SO_ACCEPTCONN
	soSndbufforce    = 32 // SO_SNDBUFFORCE
	soRcvbufforce    = 33 // SO_RCVBUFFORCE
	soPasssec        = 34 // SO_PASSSEC
	soTimestampNS    = 35 // SO_TIMESTAMPNS_OLD
	soMark           = 36 // SO_MARK
	soProtocol       = 38 // SO_PROTOCOL
	soDomain         = 39 // SO_DOMAIN
	soRxqOvfl        = 40 // SO_RXQ_OVFL
	soWifiStatus     = 41 // SO_WIFI_STATUS
	soPeekOff        = 42 // SO_PEEK_OFF
	soNofcs          = 43 // SO_NOFCS
	soLockFilter     = 44 // SO_LOCK_FILTER
	soSelectErrQueue = 45 // SO_SELECT_ERR_QUEUE
	soBusyPoll       = 46 // SO_BUSY_POLL
	soBPFExtensions  = 48 // SO_BPF_EXTENSIONS
	soIncomingCPU    = 49 // SO_INCOMING_CPU
	soPeergroups     = 59 // SO_PEERGROUPS
	soZerocopy       = 60 // SO_ZEROCOPY
	soBindtoifindex  = 62 // SO_BINDTOIFINDEX
	soTimestampNew   = 63 // SO_TIMESTAMP_NEW
	soTimestampNSNew = 64 // SO_TIMESTAMPNS_NEW
	soRcvtimeoNew    = 66 // SO_RCVTIMEO_NEW
	soSndtimeoNew    = 67 // SO_SNDTIMEO_NEW
	soPreferBusyPoll = 69 // SO_PREFER_BUSY_POLL
	soTxrehash       = 74 // SO_TXREHASH
	soRcvmark        = 75 // SO_RCVMARK
	soPasspidfd      = 76 // SO_PASSPIDFD
	soPeerpidfd      = 77 // SO_PEERPIDFD
	soRcvpriority    = 82 // SO_RCVPRIORITY
	soPassrights     = 83 // SO_PASSRIGHTS

	skfAdMax = 64 // SKF_AD_MAX (linux/filter.h): what SO_BPF_EXTENSIONS returns

	esocktnosupport = 94 // ESOCKTNOSUPPORT, which not every system's syscall names
	eprotonosupport = 93 // EPROTONOSUPPORT
	enotsupp        = 95 // EOPNOTSUPP, which has another number elsewhere
)

// Bounds of SO_RCVBUF and SO_SNDBUF with Linux's defaults (net.core.rmem_default,
// rmem_max, wmem_default and wmem_max; SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF).
const (
	rcvbufDefault = 212992
	rcvbufMax     = 4 << 20
	rcvbufMin     = 2304
	sndbufMin     = 4608
)

// socketInts are the options of SOL_SOCKET that are ints. Those without another
// word here are kept, and change nothing: a packet socket that sends nothing has
// no use for them in Linux either.
var socketInts = map[int]intOption{
	soDebug:          {name: "SO_DEBUG", check: flag},
	soReuseaddr:      {name: "SO_REUSEADDR", check: flag},
	soDontroute:      {name: "SO_DONTROUTE", check: flag},
	soBroadcast:      {name: "SO_BROADCAST", check: flag},
	soSndbuf:         {name: "SO_SNDBUF", initial: rcvbufDefault, check: buffer(sndbufMin)},
	soRcvbuf:         {name: "SO_RCVBUF", initial: rcvbufDefault, check: receiveBuffer(buffer(rcvbufMin))},
	soKeepalive:      {name: "SO_KEEPALIVE", check: flag},
	soOobinline:      {name: "SO_OOBINLINE", check: flag},
	soNoCheck:        {name: "SO_NO_CHECK", check: flag},
	soPriority:       {name: "SO_PRIORITY", check: word},
	soBsdcompat:      {name: "SO_BSDCOMPAT", check: func(*Socket, int32) (int32, error) { return 0, nil }},
	soReuseport:      {name: "SO_REUSEPORT", check: onlyOff},
	soRcvlowat:       {name: "SO_RCVLOWAT", initial: 1, check: lowWater},
	soSndlowat:       {name: "SO_SNDLOWAT", initial: 1},
	soAcceptconn:     {name: "SO_ACCEPTCONN"},
	soMark:           {name: "SO_MARK", check: word},
	soRxqOvfl:        {name: "SO_RXQ_OVFL", check: setReportDrops},
	soWifiStatus:     {name: "SO_WIFI_STATUS", check: flag},
	soNofcs:          {name: "SO_NOFCS", check: flag},
	soSelectErrQueue: {name: "SO_SELECT_ERR_QUEUE", check: flag},
	soBusyPoll:       {name: "SO_BUSY_POLL", check: notNegative},
	soIncomingCPU:    {name: "SO_INCOMING_CPU", initial: -1, check: word},
	soBindtoifindex:  {name: "SO_BINDTOIFINDEX", check: notNegative},
	soPreferBusyPoll: {name: "SO_PREFER_BUSY_POLL", check: flag},
	soRcvmark:        {name: "SO_RCVMARK", check: flag},
	soRcvpriority:    {name: "SO_RCVPRIORITY", check: flag},
}

// otherSockets are options of other families' sockets: EOPNOTSUPP for packet
// sockets, set or read.
var otherSockets = map[int]string{
	soPasscred: "SO_PASSCRED", soPasssec: "SO_PASSSEC", soPeekOff: "SO_PEEK_OFF",
	soTxrehash: "SO_TXREHASH", soPasspidfd: "SO_PASSPIDFD", soPassrights: "SO_PASSRIGHTS",
}

// buffer takes a size, of which Linux makes twice as much for its own bookkeeping.
func buffer(least int32) func(*Socket, int32) (int32, error) {
	return func(_ *Socket, v int32) (int32, error) {
		return max(2*int32(min(uint32(v), rcvbufMax)), least), nil
	}
}

// forcedBuffer is the same past net.core.rmem_max. What queues hold is bounded
// by the namespace in any case.
func forcedBuffer(least int32) func(*Socket, int32) (int32, error) {
	return func(_ *Socket, v int32) (int32, error) {
		return max(2*min(max(v, 0), math.MaxInt32/2), least), nil
	}
}

// receiveBuffer has the queue bounded by what size says.
func receiveBuffer(size func(*Socket, int32) (int32, error)) func(*Socket, int32) (int32, error) {
	return func(s *Socket, v int32) (int32, error) {
		v, err := size(s, v)
		s.queue.limit.Store(int64(v))
		return v, err
	}
}

func setReportDrops(s *Socket, v int32) (int32, error) {
	s.queue.reportDrops.Store(v != 0)
	return flag(s, v)
}

func lowWater(_ *Socket, v int32) (int32, error) {
	if v < 0 {
		return math.MaxInt32, nil
	}
	return max(v, 1), nil
}

func notNegative(_ *Socket, v int32) (int32, error) {
	if v < 0 {
		return 0, explain.Errorf(syscall.EINVAL, "%d: want at least 0", v)
	}
	return v, nil
}

func onlyOff(_ *Socket, v int32) (int32, error) {
	if v != 0 {
		return 0, notForPackets(v)
	}
	return 0, nil
}

func notForPackets(v any) error {
	return explain.Errorf(syscall.Errno(enotsupp), "%v: packet sockets do not have it", v)
}

// setSocketOption is sk_setsockopt (net/core/sock.c).
func (s *Socket) setSocketOption(name int, val []byte) error {
	if name == soBindtodevice {
		return s.setBindToDevice(val)
	}
	v, err := intValue(val, false)
	if err != nil { // whatever the option, known or not
		return fmt.Errorf("set socket option %d: %w", name, err)
	}
	if c, ok := socketInts[name]; ok {
		return s.setInt(option{tpacket.SolSocket, name}, c, val)
	}
	if label, ok := otherSockets[name]; ok {
		return fmt.Errorf("set socket option: %w", notForPackets(label))
	}
	switch name {
	case soRcvbufforce:
		return s.setInt(option{tpacket.SolSocket, soRcvbuf}, intOption{name: "SO_RCVBUFFORCE", check: needsNetAdmin(receiveBuffer(forcedBuffer(rcvbufMin)))}, val)
	case soSndbufforce:
		return s.setInt(option{tpacket.SolSocket, soSndbuf}, intOption{name: "SO_SNDBUFFORCE", check: needsNetAdmin(forcedBuffer(sndbufMin))}, val)
	case soTimestamp, soTimestampNS, soTimestampNew, soTimestampNSNew:
		return s.do("set SO_TIMESTAMP", func() error {
			s.stamp = 0 // one of them at a time; what turns one off turns off all
			if v != 0 {
				s.stamp = name
			}
			return nil
		})
	case soRcvtimeo, soRcvtimeoNew:
		return s.setTimeout(&s.rcvtimeo, val)
	case soSndtimeo, soSndtimeoNew:
		return s.setTimeout(&s.sndtimeo, val)
	case soDetachFilter:
		return s.DetachFilter()
	case soLockFilter:
		return s.lockFilter(v != 0)
	case soZerocopy:
		return fmt.Errorf("set socket option: %w", notForPackets("SO_ZEROCOPY"))
	}
	return noOption(tpacket.SolSocket, name)
}

// socketOptionLocked is sk_getsockopt.
func (s *Socket) socketOptionLocked(name int, buf []byte) (int, error) {
	o := option{tpacket.SolSocket, name}
	if c, ok := socketInts[name]; ok {
		return putInt(buf, s.intOptionLocked(o, c))
	}
	if label, ok := otherSockets[name]; ok {
		return 0, fmt.Errorf("get socket option: %w", notForPackets(label))
	}
	switch name {
	case soType:
		return putInt(buf, int32(s.typ))
	case soDomain:
		return putInt(buf, tpacket.AFPacket)
	case soProtocol, soZerocopy:
		return putInt(buf, 0) // packet sockets leave sk_protocol alone
	case tpacket.SoError:
		return putInt(buf, int32(s.err.Swap(0)))
	case soTimestamp, soTimestampNS, soTimestampNew, soTimestampNSNew:
		// Linux distinguishes the two new kinds in one direction only.
		return putInt(buf, int32(boolByte(s.stamp == name || name == soTimestampNew && s.stamp == soTimestampNSNew)))
	case soRcvtimeo, soRcvtimeoNew:
		return copy(buf, s.rcvtimeo.bytes()), nil
	case soSndtimeo, soSndtimeoNew:
		return copy(buf, s.sndtimeo.bytes()), nil
	case soLockFilter:
		return putInt(buf, int32(boolByte(s.filterLocked)))
	case soBPFExtensions:
		return putInt(buf, skfAdMax)
	case soBindtodevice:
		return s.boundDeviceNameLocked(buf)
	case soPeercred: // struct ucred without a process
		b := binary.NativeEndian.AppendUint32(nil, 0)
		b = binary.NativeEndian.AppendUint32(b, math.MaxUint32)
		return copy(buf, binary.NativeEndian.AppendUint32(b, math.MaxUint32)), nil
	case soPeername:
		return 0, explain.Errorf(syscall.ENOTCONN, "get SO_PEERNAME: packet sockets have no peer")
	case soPeergroups, soPeerpidfd:
		return 0, explain.Errorf(syscall.Errno(61), "get SO_PEERGROUPS or SO_PEERPIDFD: packet sockets have no peer") // ENODATA
	}
	return 0, noOption(tpacket.SolSocket, name)
}

// ifNameSize is IFNAMSIZ (linux/if.h).
const ifNameSize = 16

// setBindToDevice keeps the device's index, as sock_setbindtodevice does. It
// changes nothing for a packet socket: bind does.
func (s *Socket) setBindToDevice(val []byte) error {
	name, _, _ := bytes.Cut(val[:min(len(val), ifNameSize-1)], []byte{0})
	return s.do("set SO_BINDTODEVICE", func() error {
		index := 0
		if len(name) > 0 {
			d, ok := s.ns.DeviceByName(string(name))
			if !ok || !s.grant.allowsDevice(int32(d.index)) {
				return explain.Errorf(syscall.ENODEV, "%q: no such device", name)
			}
			index = d.index
		}
		s.flags[option{tpacket.SolSocket, soBindtoifindex}] = int32(index)
		return nil
	})
}

// boundDeviceNameLocked is SO_BINDTODEVICE's name (sock_getbindtodevice).
func (s *Socket) boundDeviceNameLocked(buf []byte) (int, error) {
	index := s.flags[option{tpacket.SolSocket, soBindtoifindex}]
	if index == 0 {
		return 0, nil
	}
	if len(buf) < ifNameSize {
		return 0, short("get SO_BINDTODEVICE", buf, ifNameSize)
	}
	d, ok := s.ns.DeviceByIndex(int(index))
	if !ok || !s.grant.allowsDevice(index) {
		return 0, explain.Errorf(syscall.ENODEV, "get SO_BINDTODEVICE: index %d: no such device", index)
	}
	return copy(buf, d.name+"\x00"), nil
}

// timeout is SO_RCVTIMEO or SO_SNDTIMEO, in ticks; 0 is for ever and -1 not at all.
type timeout int64

// tick is a jiffy of a kernel with CONFIG_HZ=250: Linux rounds time-outs up to
// whole ones, and so tells them.
const tick = 4 * time.Millisecond

const sizeofTimeval = 16 // struct timeval; of 64-bit numbers in both generations of the options

// setTimeout is sock_set_timeout.
func (s *Socket) setTimeout(t *timeout, val []byte) error {
	if len(val) < sizeofTimeval {
		return short("set SO_RCVTIMEO", val, sizeofTimeval)
	}
	sec := int64(binary.NativeEndian.Uint64(val))
	usec := int64(binary.NativeEndian.Uint64(val[8:]))
	return s.do("set SO_RCVTIMEO", func() error {
		const perSecond, perTick = int64(time.Second / tick), int64(tick / time.Microsecond)
		switch {
		case usec < 0 || usec >= 1e6:
			return explain.Errorf(syscall.EDOM, "%d microseconds: want 0 to 999999", usec)
		case sec < 0:
			*t = -1
		case sec >= math.MaxInt64/perSecond-1:
			*t = 0
		default:
			*t = timeout(sec*perSecond + (usec+perTick-1)/perTick)
		}
		return nil
	})
}

func (t timeout) bytes() []byte {
	n := max(t, 0) // Linux reads back never and at once alike
	perSecond := timeout(time.Second / tick)
	b := binary.NativeEndian.AppendUint64(nil, uint64(n/perSecond))
	return binary.NativeEndian.AppendUint64(b, uint64(n%perSecond)*uint64(tick/time.Microsecond))
}
