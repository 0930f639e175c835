package rxring

import (
	"math/bits"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/clock"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Deliver offers p to every socket on the device, and returns when each has copied, filtered
// or dropped it. It never waits for a reader. A device that is down, or was removed, drops p
// uncounted.
//
// Packets to other hosts are offered, too, promiscuous or not, as with frames written to a TAP
// device. A source that stands for a network card calls AcceptsDst first.
func (d *Device) Deliver(p *Packet) {
	if taps := d.taps.Load(); taps != nil { // pairs with the store in publishTapsLocked
		d.deliver(p, *taps)
	}
}

// DeliverBatch delivers the packets in order. It costs less per packet than Deliver: a socket
// acquires slots for up to 32 packets at once.
func (d *Device) DeliverBatch(ps []Packet) {
	taps := d.taps.Load() // pairs with the store in publishTapsLocked
	if taps == nil {
		return
	}
	d.deliverInBatches(ps, *taps)
}

func (d *Device) deliverInBatches(ps []Packet, taps []tap) {
	for len(ps) > 0 {
		n := min(len(ps), maxBatch)
		d.deliverBatch(ps[:n], taps)
		ps = ps[n:]
	}
}

// deliver measures the packet once and offers it to each socket, as
// deliver_skb and dev_queue_xmit_nit do (net/core/dev.c).
func (d *Device) deliver(p *Packet, taps []tap) {
	var meta packetMeta
	if !meta.measure(d, p) {
		d.dropMalformed(taps)
		return
	}
	d.traffic.count(p, meta.length)
	if meta.extra&extraVLAN != 0 && !p.Outgoing {
		d.offerTagged(p, &meta, taps)
		return
	}
	for _, t := range taps {
		if t.group != nil {
			t.group.deliver(p, &meta)
		} else if t.socket.wants(p, &meta) {
			t.socket.receive(p, &meta)
		}
	}
}

// offerTagged calls deliverTagged, and counts the packet as malformed if that fails.
func (d *Device) offerTagged(p *Packet, meta *packetMeta, taps []tap) {
	if !d.deliverTagged(p, meta, taps) {
		d.malformed.Add(1)
	}
}

// maxBatch is how many packets a socket takes slots for at once: those in a
// batchMask.
const maxBatch = 32

// batchClock is one reading of the clock for all packets of a batch that have no time; 0:
// not read yet.
type batchClock int64

func (c *batchClock) stamp(meta *packetMeta) {
	if meta.timestamp == 0 {
		if *c == 0 {
			c.read() // once a batch
		}
		meta.timestamp = int64(*c)
	}
}

func (c *batchClock) read() { *c = batchClock(clock.Now()) }

// batchMask is a set of a batch's packets, by number.
type batchMask uint32

func (m batchMask) first() int { return bits.TrailingZeros32(uint32(m)) }

// deliverBatch is deliver for up to maxBatch packets.
func (d *Device) deliverBatch(ps []Packet, taps []tap) {
	var metas [maxBatch]packetMeta
	for i := range ps {
		if !metas[i].measure(d, &ps[i]) {
			d.dropMalformed(taps)
			metas[i].length = 0 // skipped by sockets
		} else if metas[i].extra&extraVLAN != 0 && !ps[i].Outgoing { // delivered alone, in its place among the others
			d.offerBatch(ps[:i], metas[:i], taps)
			d.traffic.count(&ps[i], metas[i].length)
			d.offerTagged(&ps[i], &metas[i], taps)
			d.deliverBatch(ps[i+1:], taps)
			return
		}
	}
	d.offerBatch(ps, metas[:len(ps)], taps)
}

func (d *Device) offerBatch(ps []Packet, metas []packetMeta, taps []tap) {
	if len(ps) == 0 { // a tagged packet was the first, or the last
		return
	}
	d.traffic.countBatch(ps, metas)
	for _, t := range taps {
		if t.group != nil {
			t.group.deliverBatch(ps, metas)
		} else {
			t.socket.receiveBatch(ps, metas, ^batchMask(0))
		}
	}
}

// wants reports whether the socket is offered the packet: one that is bound to a single
// protocol receives only incoming packets of it.
func (s *Socket) wants(p *Packet, meta *packetMeta) bool {
	return matchesProtocol(uint16(s.protocol.Load()), p, meta) // pairs with the store in bindLocked
}

func matchesProtocol(protocol uint16, p *Packet, meta *packetMeta) bool {
	return protocol == tpacket.ETHPAll || protocol == meta.protocol && !p.Outgoing
}

// rxOptions holds a socket's options as the receive path needs them. It is immutable: a
// changed option publishes a new one.
type rxOptions struct {
	ring           *writer.Ring   // V1 and V2; nil: none
	blocks         *writer.Blocks // V3; nil: none
	epoch          uint32         // of the queue
	filter         *cbpf.Filter
	version        tpacket.Version
	dgram          bool
	ignoreOutgoing bool
	fillHash       bool   // V3: tp_rxhash is asked for
	frameSize      uint32 // bytes that a packet has room in, headers included
	reserve        uint32
	vnetLen        uint32 // PACKET_VNET_HDR_SZ
	copyWhole      bool   // PACKET_COPY_THRESH: what a slot cuts goes to the queue, too
	trailers       uint32 // a mask of packetMeta.trailer; 0: comments are not wanted

	bare, framed tpacket.Offsets // of packets without and with an Ethernet header

	budget       *Budget    // charged for queued packets
	grant        *granted   // nil: no restriction
	account      *Account   // nil: none, or the fanout group's
	unrestricted *rxOptions // the same without grant and account; nil: it has neither
}

// offsets returns where the packet's headers are placed in a frame.
func (rx *rxOptions) offsets(meta *packetMeta) tpacket.Offsets {
	if meta.maclen == etherLen {
		return rx.framed
	}
	return rx.otherOffsets(meta)
}

func (rx *rxOptions) otherOffsets(meta *packetMeta) tpacket.Offsets {
	if meta.maclen == 0 || rx.dgram {
		return rx.bare
	}
	return tpacket.RawOffsets(rx.version, meta.maclen, rx.reserve, rx.vnetLen)
}

// skipLen returns how many bytes at the packet's beginning are hidden from the socket.
func (rx *rxOptions) skipLen(meta *packetMeta) uint32 {
	if rx.dgram {
		return meta.maclen
	}
	return 0
}

// receive delivers a packet that wants has accepted.
func (s *Socket) receive(p *Packet, meta *packetMeta) {
	s.receiveOne(s.rx.Load(), p, meta) // pairs with the store in Socket.publishLocked
}

// receiveOne is a packet's life at one socket, in the order of tpacket_rcv
// (net/packet/af_packet.c): filter, measure, acquire, copy, stamp, release, wake.
func (s *Socket) receiveOne(rx *rxOptions, p *Packet, meta *packetMeta) {
	if rx.unrestricted != nil {
		s.receiveGranted(rx, p, meta)
		return
	}
	snaplen, cut, ok := s.admit(rx, p, meta)
	if !ok {
		return
	}
	if rx.ring == nil {
		s.receiveWithoutSlots(rx, p, meta, snaplen)
		return
	}
	if slot, verdict := rx.ring.Acquire(); verdict == ring.Acquired {
		status := s.fill(rx, slot, p, meta, snaplen, cut)
		rx.ring.Release(slot, status)
	} else {
		s.counters.Drop(verdict, 1)
	}
	s.notify.Wake()
}

// receiveWithoutSlots is the rest of receiveOne for a V3 ring or a queue.
func (s *Socket) receiveWithoutSlots(rx *rxOptions, p *Packet, meta *packetMeta, snaplen uint32) {
	if rx.blocks != nil {
		s.receiveBlock(rx, p, meta, snaplen)
	} else {
		s.enqueue(rx, p, meta, snaplen)
	}
}

// receiveBatch is receive for the packets in mask. It acquires their slots together.
func (s *Socket) receiveBatch(ps []Packet, metas []packetMeta, mask batchMask) {
	rx := s.rx.Load() // pairs with the store in Socket.publishLocked
	if rx.unrestricted != nil {
		s.receiveBatchGranted(rx, ps, metas, mask)
	} else {
		s.receiveBatchUnrestricted(rx, ps, metas, mask)
	}
}

// receiveBatchUnrestricted is receiveBatch for a socket without grant and account.
func (s *Socket) receiveBatchUnrestricted(rx *rxOptions, ps []Packet, metas []packetMeta, mask batchMask) {
	var (
		admitted [maxBatch]uint8 // by number
		snaplens [maxBatch]uint32
		cuts     batchMask // by place in the two
		slots    [maxBatch]uint32
		n        int
		now      batchClock
	)
	for i := range ps {
		if mask&(1<<i) == 0 || metas[i].length == 0 || !s.wants(&ps[i], &metas[i]) {
			continue
		}
		if snaplen, cut, ok := s.admit(rx, &ps[i], &metas[i]); ok {
			admitted[n], snaplens[n] = uint8(i), snaplen
			if cut {
				cuts |= 1 << n
			}
			n++
		}
	}
	if n == 0 {
		return
	}
	if rx.ring == nil {
		for k, i := range admitted[:n] {
			now.stamp(&metas[i])
			s.receiveWithoutSlots(rx, &ps[i], &metas[i], snaplens[k])
		}
		return
	}
	for done := 0; done < n; {
		got, verdict := rx.ring.AcquireBatch(slots[done:n])
		if verdict != ring.Acquired { // the next packet is dropped; those after it try again
			s.counters.Drop(verdict, 1)
			done++
			continue
		}
		for ; got > 0; got-- {
			i, slot := admitted[done], slots[done]
			now.stamp(&metas[i])
			status := s.fill(rx, slot, &ps[i], &metas[i], snaplens[done], cuts&(1<<done) != 0)
			if got > 1 {
				rx.ring.ReleaseEarly(slot, status)
			} else {
				rx.ring.Release(slot, status)
			}
			done++
		}
	}
	s.notify.Wake()
}

// admit runs the filter and measures: it returns how many bytes of the packet fit into a
// frame, whether a whole copy of a packet cut there is wanted, and whether the packet is
// accepted. Refused packets have been counted.
func (s *Socket) admit(rx *rxOptions, p *Packet, meta *packetMeta) (snaplen uint32, cut, ok bool) {
	if rx.ignoreOutgoing && p.Outgoing {
		return 0, false, false
	}
	skip := rx.skipLen(meta)
	snaplen = meta.capLen - skip
	verdict := snaplen // in Linux, too, an empty packet is refused unless a filter wants it
	if rx.filter != nil {
		verdict = meta.runFilter(rx.filter, p, skip)
		snaplen = min(snaplen, verdict)
	}
	if verdict == 0 {
		s.counters.Filtered()
		return 0, false, false
	}
	at := rx.offsets(meta)
	if at.Net > maxOffset || rx.vnetLen != 0 && !p.GSO.vnetKnown() {
		s.counters.Drop(ring.NoRoom, 1)
		return 0, false, false
	}
	// A frame that ends before its packet begins cuts even one without bytes.
	if room := rx.frameSize - min(at.Mac, rx.frameSize); snaplen > room || at.Mac > rx.frameSize {
		return room, rx.copyWhole, true
	}
	return snaplen, false, true
}
