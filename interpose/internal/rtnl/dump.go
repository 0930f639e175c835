//go:build linux

package rtnl

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// dump is a list that a program is receiving. It mirrors struct netlink_callback
// (linux/netlink.h).
type dump struct {
	header // of each message
	items  []item

	errno     syscall.Errno // of its NLMSG_DONE
	doneFlags uint16        // of its NLMSG_DONE
	together  bool          // NLMSG_DONE is in one piece with messages before it
}

// item lays out one message of the dump.
type item func(header) []byte

const (
	// skbOverhead is what SKB_WITH_OVERHEAD subtracts: struct skb_shared_info.
	skbOverhead = 320
	// goodSize is NLMSG_GOODSIZE, the least room of a piece of a dump.
	goodSize = 4096 - skbOverhead
)

// startDump begins the dump that r asks for, and sends the first piece.
func (s *Socket) startDump(r request) syscall.Errno {
	d := &dump{header: header{flags: unix.NLM_F_MULTI, seq: r.seq, port: s.port}, doneFlags: unix.NLM_F_MULTI}
	switch family, known := emptyDumps[r.typ]; {
	case r.typ == unix.RTM_GETLINK:
		s.dumpLinks(d, r)
	case r.typ == unix.RTM_GETADDR:
		s.dumpAddrs(d, r)
	case r.typ == unix.RTM_GETROUTE:
		s.dumpRoutes(d, r)
	case r.typ == unix.RTM_GETRULE:
		s.dumpRules(d, r)
	case !known || family != 0 && family != r.body[0]:
		return syscall.EOPNOTSUPP
	}
	if s.dump != nil {
		return syscall.EBUSY
	}
	s.dump = d
	s.dumpMore()
	return started
}

// emptyDumps are the lists of Linux that are empty here: there are no neighbours and no
// queueing disciplines. The value is the one family that the request must have; 0: any.
var emptyDumps = map[uint16]uint8{
	unix.RTM_GETNEIGH: 0, unix.RTM_GETQDISC: 0, unix.RTM_GETTCLASS: 0,
	unix.RTM_GETTFILTER: 0, unix.RTM_GETACTION: 0, unix.RTM_GETNEIGHTBL: 0, unix.RTM_GETNETCONF: 0,
	unix.RTM_GETNSID: 0, unix.RTM_GETSTATS: 0, unix.RTM_GETCHAIN: 0, unix.RTM_GETNEXTHOP: 0, unix.RTM_GETNEXTHOPBUCKET: 0,
	unix.RTM_GETMULTICAST: unix.AF_INET6, unix.RTM_GETANYCAST: unix.AF_INET6, unix.RTM_GETADDRLABEL: unix.AF_INET6,
	unix.RTM_GETMDB: unix.AF_BRIDGE, unix.RTM_GETVLAN: unix.AF_BRIDGE, unix.RTM_GETTUNNEL: unix.AF_BRIDGE,
}

// dumpMore sends one more piece: as many messages as it has room for, and after the last
// one NLMSG_DONE, in a piece of its own if there is no room.
func (s *Socket) dumpMore() {
	d, room := s.dump, max(goodSize, s.longest)
	if !s.room(memory(room)) {
		return // until some of it has been received
	}
	var piece []byte
	for len(d.items) > 0 {
		m := d.items[0](d.header)
		if len(piece) > 0 && len(piece)+len(m) > room {
			break
		}
		piece = append(piece, m...)
		d.items = d.items[1:]
	}
	done := message(header{typ: unix.NLMSG_DONE, flags: d.doneFlags, seq: d.seq, port: d.port}, errorBytes(d.errno))
	if len(d.items) == 0 && (len(piece) == 0 || d.together && len(piece)+len(done) <= room) {
		piece = append(piece, done...)
		s.dump = nil
	}
	s.queue(Datagram{Data: piece, memory: memory(room)})
}
