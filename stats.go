package rxring

import (
	"sync/atomic"

	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Traffic counts packets that passed a device.
type Traffic struct {
	Packets uint64
	Bytes   uint64 // link-layer headers included
}

// Traffic returns what the device has received and sent since it was made, as an interface's
// counters in Linux. A device without attached sockets counts nothing.
func (d *Device) Traffic() (in, out Traffic) { return d.traffic.in.total(), d.traffic.out.total() }

// traffic is a device's counters. They change with every packet: they lie apart from
// what writers only read.
type traffic struct {
	_   [64]byte
	in  trafficCounter
	_   [64]byte
	out trafficCounter
	_   [64]byte
}

// of returns the counter of the packet's direction.
func (t *traffic) of(p *Packet) *trafficCounter {
	if p.Outgoing {
		return &t.out
	}
	return &t.in
}

// add counts what a batch brings.
func (t *traffic) add(in, out Traffic) {
	if in.Packets > 0 {
		t.in.add(in.Packets, in.Bytes)
	}
	if out.Packets > 0 {
		t.out.add(out.Packets, out.Bytes)
	}
}

// trafficCounter counts packets and their bytes in one atomic operation. All methods may
// be called concurrently.
type trafficCounter struct {
	// recent is what came since the last carry: the packets above the bytes.
	recent         atomic.Uint64
	packets, bytes atomic.Uint64
}

const (
	recentBytes = 44      // bits of trafficCounter.recent
	carryAt     = 1 << 63 // half of the packets that recent has room for
	mostBytes   = 1 << 24 // that count of a packet: recent has room for so many of each
)

func (c *trafficCounter) add(packets, bytes uint64) {
	if c.recent.Add(packets<<recentBytes|min(bytes, packets*mostBytes)) >= carryAt {
		c.carry()
	}
}

func (c *trafficCounter) carry() {
	n := c.recent.Swap(0)
	c.packets.Add(n >> recentBytes)
	c.bytes.Add(n & (1<<recentBytes - 1))
}

func (c *trafficCounter) total() Traffic {
	c.carry()
	return Traffic{c.packets.Load(), c.bytes.Load()}
}

// Lost counts n packets that were lost before they reached the device: in a kernel's ring, for
// example, or on the way from another host. Each socket on the device counts them as offered
// and dropped ([ring.Lost]): both numbers of PACKET_STATISTICS include them, and packets after
// them carry TP_STATUS_LOSING.
//
// Their contents are unknown, so they count whatever a socket's protocol, filter and grant
// are. A fanout group would have delivered each to one member: they count once, at its first
// member, so that the sum over all members is exact.
//
// Lost may be called concurrently with all other methods. With n 0, or without sockets on the
// device, it does nothing.
func (d *Device) Lost(n uint64) {
	if taps := d.taps.Load(); taps != nil && n > 0 { // pairs with the store in publishTapsLocked
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
			members := *t.group.members.Load() // pairs with the stores in linkLocked and unlinkLocked
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
	if rx := s.rx.Load(); rx.slots == nil && rx.blocks == nil { // pairs with the store in publishLocked
		s.queue.dropped.Add(uint32(n)) // sk_drops, which only queues report
	}
}

// Statistics returns and clears the socket's counts (PACKET_STATISTICS).
// Packets includes Drops, and neither includes what the filter refused. Drops are
// those of all reasons, with what was lost before the device until now. Only V3 rings
// freeze.
func (s *Socket) Statistics() tpacket.Stats3 {
	s.reportLost()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statisticsLocked()
}

func (s *Socket) statisticsLocked() tpacket.Stats3 {
	packets, drops := s.counters.Statistics()
	st := tpacket.Stats3{Packets: uint32(packets), Drops: uint32(drops), FreezeQCount: s.freezes}
	s.freezes = 0
	if b, ok := s.ring.(*writer.Blocks); ok {
		st.FreezeQCount += b.FreezeCount()
	}
	return st
}

// Totals returns what became of every packet offered since the socket was made. It remains
// available after Close.
func (s *Socket) Totals() ring.Totals {
	s.reportLost()
	return s.counters.Totals()
}
