package rxring

import "github.com/rxring/rxring/ring"

// Lost counts n packets that should have come to the device and were lost before
// it: in a kernel's ring, say, or on the way from another host. Each socket on the
// device counts them as offered and dropped ([ring.Lost]): they are in both numbers
// of PACKET_STATISTICS, and packets after them carry TP_STATUS_LOSING.
//
// Nobody knows what was in them. So they count whatever a socket's protocol, filter
// and grant would have said. A fanout group would have given each to one member: they
// count once, at its first member, so that the sum over all members is exact.
//
// Lost may be called concurrently with everything. With n 0, or without sockets on
// the device, it does nothing.
func (d *Device) Lost(n uint64) {
	if taps := d.taps.Load(); taps != nil && n > 0 {
		dropAll(*taps, ring.Lost, n)
	}
}

// dropMalformed counts a packet that has no whole link-layer header, or on a raw-IP
// device no IP version. In Linux no such packet gets as far as a device: a TAP or TUN
// device refuses it with EINVAL.
//
//go:noinline
func (d *Device) dropMalformed(taps []tap) {
	d.malformed.Add(1)
	dropAll(taps, ring.Malformed, 1)
}

// dropAll counts n packets as dropped at each tap, whatever it wants.
func dropAll(taps []tap, why ring.Verdict, n uint64) {
	for _, t := range taps {
		s := t.socket
		if t.group != nil {
			members := *t.group.members.Load() // pairs with the stores in link and unlink
			if len(members) == 0 {
				continue
			}
			s = members[0]
		}
		s.drop(why, n)
	}
}

// drop counts n packets that did not get as far as the socket's ring or queue.
func (s *Socket) drop(why ring.Verdict, n uint64) {
	s.counters.Drop(why, n)
	if rx := s.rx.Load(); rx.ring == nil && rx.blocks == nil {
		s.queue.dropped.Add(uint32(n)) // sk_drops, of which only queues tell
	}
}
