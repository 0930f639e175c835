package rxring

import "sync/atomic"

// Traffic counts packets that passed a device.
type Traffic struct {
	Packets uint64
	Bytes   uint64 // link-layer headers included
}

// Traffic is what came in by the device and what left by it, since it was made, while
// there were sockets that it delivers to: what Linux shows as an interface's counters.
// While there are none, a device counts nothing.
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

// count adds a packet of so many bytes.
func (t *traffic) count(p *Packet, bytes uint32) {
	if p.Outgoing {
		t.out.add(1, uint64(bytes))
	} else {
		t.in.add(1, uint64(bytes))
	}
}

// countBatch adds packets with the lengths that as has, 0 for one that does not count.
func (t *traffic) countBatch(ps []Packet, as []arrival) {
	var in, out Traffic
	for i := range ps {
		sum := &in
		if ps[i].Outgoing {
			sum = &out
		}
		if n := as[i].length; n > 0 {
			sum.Packets++
			sum.Bytes += uint64(n)
		}
	}
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
