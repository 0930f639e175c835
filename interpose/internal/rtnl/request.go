//go:build linux

package rtnl

import (
	"bytes"
	"encoding/binary"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// request is one message of the program.
type request struct {
	header
	whole []byte // the header included
	body  []byte // without it
}

// started is what answer returns if a dump has begun, whose end acknowledges the request.
const started = syscall.EINTR

// requests serves the messages in b, as netlink_rcv_skb does: it ignores what follows a
// message with a wrong length.
func (s *Socket) requests(b []byte) {
	for len(b) >= unix.NLMSG_HDRLEN {
		h := parseHeader(b)
		if h.size < unix.NLMSG_HDRLEN || uint64(h.size) > uint64(len(b)) {
			return
		}
		r := request{h, b[:h.size], b[unix.NLMSG_HDRLEN:h.size]}
		errno := s.answer(r)
		if errno != started && (errno != 0 || h.flags&unix.NLM_F_ACK != 0) {
			s.ack(r, errno)
		}
		b = b[min(align(int(h.size)), len(b)):]
	}
}

// answer serves a request, as rtnetlink_rcv_msg (net/core/rtnetlink.c) does for a process
// without privileges.
func (s *Socket) answer(r request) syscall.Errno {
	const kindMask, kindGet = 3, 2 // of a type: NEW, DEL, GET, SET
	switch {
	case r.flags&unix.NLM_F_REQUEST == 0, r.typ < unix.RTM_BASE:
		return 0
	case r.typ > unix.RTM_MAX:
		return syscall.EOPNOTSUPP
	case len(r.body) < unix.SizeofRtGenmsg:
		return 0
	case r.typ&kindMask != kindGet:
		return syscall.EPERM // for CAP_NET_ADMIN
	case r.flags&unix.NLM_F_DUMP != 0:
		return s.startDump(r)
	}
	switch r.typ {
	case unix.RTM_GETLINK:
		return s.getLink(r)
	case unix.RTM_GETROUTE:
		switch r.body[0] {
		case unix.AF_INET:
			return s.getRoute4(r)
		case unix.AF_INET6:
			return s.getRoute6(r)
		}
	}
	return syscall.EOPNOTSUPP
}

// ack sends NLMSG_ERROR, which for errno 0 acknowledges the request.
func (s *Socket) ack(r request, errno syscall.Errno) {
	flags, quote := uint16(0), r.whole
	if errno == 0 || s.option[unix.NETLINK_CAP_ACK] {
		flags, quote = unix.NLM_F_CAPPED, r.whole[:unix.NLMSG_HDRLEN]
	}
	s.reply(message(header{typ: unix.NLMSG_ERROR, flags: flags, seq: r.seq, port: s.port}, errorBytes(errno), quote))
}

func errorBytes(errno syscall.Errno) []byte {
	return binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
}

// reply sends a message to the program. If the receive buffer has no room, it is dropped.
func (s *Socket) reply(m []byte) { s.queue(Datagram{Data: m, memory: memory(len(m))}) }

// policy mirrors struct nla_policy (net/netlink.h): how long the attributes of a request
// must be.
type policy struct {
	most   uint16            // the highest type that Linux knows
	length map[uint16]length // of the types that are checked
}

// length bounds the length of a value, in bytes.
type length struct {
	least int
	text  int // maximum of a string, without its NUL; 0: it is not a string
}

func (l length) check(val []byte) syscall.Errno {
	if l.text > 0 && len(bytes.TrimSuffix(val, []byte{0})) > l.text || len(val) < l.least {
		return syscall.ERANGE
	}
	return 0
}

// parse finds attributes in b, the last one of each type, as nlmsg_parse_deprecated does.
// If it is strict, there may be only attributes of the allowed types.
func (p *policy) parse(b []byte, strict bool, allowed ...uint16) (map[uint16][]byte, syscall.Errno) {
	found := make(map[uint16][]byte)
	var others syscall.Errno
	for typ, val := range each(b) {
		if strict && (typ == 0 || typ > p.most) {
			return nil, syscall.EINVAL
		}
		if errno := p.length[typ].check(val); errno != 0 {
			return nil, errno
		}
		if slices.Contains(allowed, typ) {
			found[typ] = val
		} else if strict {
			others = syscall.EINVAL
		}
	}
	if strict && !whole(b) {
		return nil, syscall.EINVAL
	}
	return found, others
}
