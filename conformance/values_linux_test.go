package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// value is what a call's pointer points to.
type value interface {
	bytes() []byte  // a copy
	String() string // as Go
}

type (
	// i32 is an int.
	i32 int32
	// raw is bytes that are no whole value.
	raw string
	// req is a struct tpacket_req, req3 a struct tpacket_req3.
	req struct{ blockSize, blockNr, frameSize, frameNr uint32 }
	// req3 is a struct tpacket_req3; tov is in milliseconds.
	req3 struct {
		ring                req
		tov, priv, features uint32
	}
	// fanout is a struct fanout_args. max below 0 leaves max_num_members away, as
	// older programs do.
	fanout struct {
		id          uint16
		mode, flags uint8
		max         int64
	}
	// timeval is a struct timeval.
	timeval struct{ sec, usec int64 }
	// mreq is a struct packet_mreq, with as much of its address as there is.
	mreq struct {
		index     int32
		typ, alen uint16
		addr      string
	}
	// sll is a struct sockaddr_ll. Its protocol is in host byte order.
	sll struct {
		family int
		index  int
		proto  int
	}
)

func (v i32) bytes() []byte { return binary.NativeEndian.AppendUint32(nil, uint32(v)) }
func (v raw) bytes() []byte { return []byte(v) }
func (v req) bytes() []byte {
	return tpacket.Bytes(&tpacket.Req{BlockSize: v.blockSize, BlockNr: v.blockNr, FrameSize: v.frameSize, FrameNr: v.frameNr})
}
func (v req3) bytes() []byte {
	var r tpacket.Req3
	r.Req = tpacket.Parse[tpacket.Req](v.ring.bytes())
	r.RetireBlkTov, r.SizeofPriv, r.FeatureReqWord = v.tov, v.priv, v.features
	return tpacket.Bytes(&r)
}
func (v fanout) bytes() []byte {
	b := binary.NativeEndian.AppendUint16(nil, v.id)
	b = append(b, v.mode, v.flags) // a little-endian machine's order
	if v.max >= 0 {
		b = binary.NativeEndian.AppendUint32(b, uint32(v.max))
	}
	return b
}
func (v timeval) bytes() []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(v.sec))
	return binary.NativeEndian.AppendUint64(b, uint64(v.usec))
}
func (v mreq) bytes() []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(v.index))
	b = binary.NativeEndian.AppendUint16(b, v.typ)
	b = binary.NativeEndian.AppendUint16(b, v.alen)
	return append(b, v.addr...)
}
func (v sll) bytes() []byte {
	return tpacket.Bytes(&tpacket.SockaddrLL{Family: uint16(v.family), Ifindex: int32(v.index), Protocol: tpacket.Htons(uint16(v.proto))})
}

func (v i32) String() string { return fmt.Sprintf("i32(%d)", int32(v)) }
func (v raw) String() string { return fmt.Sprintf("raw(%s)", quote(string(v))) }
func (v req) String() string {
	return fmt.Sprintf("req{%d, %d, %d, %d}", v.blockSize, v.blockNr, v.frameSize, v.frameNr)
}
func (v req3) String() string {
	return fmt.Sprintf("req3{%v, %d, %d, %d}", v.ring, v.tov, v.priv, v.features)
}
func (v fanout) String() string {
	return fmt.Sprintf("fanout{%d, %d, %#x, %d}", v.id, v.mode, v.flags, v.max)
}
func (v timeval) String() string { return fmt.Sprintf("timeval{%d, %d}", v.sec, v.usec) }
func (v mreq) String() string {
	return fmt.Sprintf("mreq{%d, %d, %d, %s}", v.index, v.typ, v.alen, quote(v.addr))
}
func (v sll) String() string {
	return fmt.Sprintf("sll{%d, %d, %#04x}", v.family, v.index, v.proto)
}

// quote is %q in hexadecimal.
func quote(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, `\x%02x`, s[i])
	}
	return `"` + b.String() + `"`
}

// room is n bytes for an option to be filled into, with something in them.
func room(n int) raw { return raw(strings.Repeat("\xa5", n)) }

// program is a classic BPF program.
type program []cbpf.Instruction

func (p program) String() string {
	var b strings.Builder
	b.WriteString("program{")
	for i, in := range p {
		if i == 8 && len(p) > 16 {
			fmt.Fprintf(&b, ", /* %d in all */", len(p))
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "{%#02x, %d, %d, %#x}", in.Op, in.Jt, in.Jf, in.K)
	}
	b.WriteString("}")
	return b.String()
}

func (o socket) String() string {
	typ := map[int]string{unix.SOCK_RAW: "unix.SOCK_RAW", unix.SOCK_DGRAM: "unix.SOCK_DGRAM"}[o.typ]
	if typ == "" {
		typ = fmt.Sprint(o.typ)
	}
	return fmt.Sprintf("socket{%d, %s, %#04x}", o.s, typ, o.proto)
}
func (o closeSocket) String() string { return fmt.Sprintf("closeSocket{%d}", o.s) }
func (o bind) String() string        { return fmt.Sprintf("bind{%d, %v}", o.s, o.addr) }
func (o set) String() string {
	return fmt.Sprintf("set{%d, %s, %v}", o.s, optionName(o.level, o.name), o.val)
}
func (o get) String() string {
	return fmt.Sprintf("get{%d, %s, %v}", o.s, optionName(o.level, o.name), o.room)
}
func (o attach) String() string        { return fmt.Sprintf("attach{%d, %v}", o.s, o.prog) }
func (o getFilter) String() string     { return fmt.Sprintf("getFilter{%d, %d}", o.s, o.room) }
func (o fanoutProgram) String() string { return fmt.Sprintf("fanoutProgram{%d, %v}", o.s, o.prog) }
func (o device) String() string        { return fmt.Sprintf("device{%q, %v}", o.name, o.what) }
func (o expire) String() string        { return fmt.Sprintf("expire{%d}", o.ms) }
func (o mmap) String() string          { return fmt.Sprintf("mmap{%d}", o.s) }
func (o munmap) String() string        { return fmt.Sprintf("munmap{%d}", o.s) }
func (o recv) String() string {
	return fmt.Sprintf("recv{%d, %d, %#x, %d}", o.s, o.room, o.flags, o.control)
}
func (o read) String() string {
	return fmt.Sprintf("read{%d, %d, %s, %d}", o.s, o.room, strings.TrimPrefix(optionName(unix.SOL_SOCKET, o.option), "unix.SOL_SOCKET, "), o.ms)
}
func (o handBack) String() string { return fmt.Sprintf("handBack{%d, %d}", o.s, o.n) }
func (o store) String() string    { return fmt.Sprintf("store{%d, %d, %#x}", o.s, o.frame, o.status) }
func (o arrive) String() string {
	return fmt.Sprintf("arrive{%q, %v, %d, %v}", o.dev, o.packet, o.times, o.how)
}
func (o leave) String() string {
	return fmt.Sprintf("leave{%q, %v, %d, %v}", o.dev, o.packet, o.times, o.how)
}

// optionName is level and name as Go.
func optionName(level, name int) string {
	l := fmt.Sprint(level)
	switch level {
	case unix.SOL_PACKET:
		l = "unix.SOL_PACKET"
	case unix.SOL_SOCKET:
		l = "unix.SOL_SOCKET"
	}
	for _, o := range options {
		if o.level == level && o.number == name {
			return l + ", unix." + o.name
		}
	}
	return fmt.Sprintf("%s, %d", l, name)
}

// errnoOf is the errno in err: 0 for none, -1 for an error without.
func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	var e syscall.Errno
	if !errors.As(err, &e) {
		return noErrno
	}
	return e
}

const noErrno = unix.Errno(1<<32 - 1)

func errnoName(e unix.Errno) string {
	switch e {
	case 0:
		return "ok"
	case noErrno:
		return "no-errno"
	}
	if name := unix.ErrnoName(e); name != "" {
		return name
	}
	return fmt.Sprintf("errno-%d", int(e))
}
