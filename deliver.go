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
	if meta.extra&extraVLAN != 0 && !p.Outgoing {
		d.traffic.of(p).add(1, uint64(meta.length))
		d.offerTagged(p, &meta, taps)
		return
	}
	var due *Socket // whose reader is woken after the count, which is the full barrier before
	for _, t := range taps {
		s := t.socket
		if t.group != nil {
			if s = t.group.deliver(p, &meta); s == nil {
				continue
			}
		} else if !s.wants(p, &meta) || !s.receiveQuietly(s.rx.Load(), p, &meta) { // pairs with the store in Socket.publishLocked
			continue
		}
		if due != nil {
			due.notify.FenceAndWake()
		}
		due = s
	}
	d.traffic.of(p).add(1, uint64(meta.length))
	if due != nil {
		due.notify.Wake()
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
			d.traffic.of(&ps[i]).add(1, uint64(metas[i].length))
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
	whole          uint32 // Ethernet frames of up to so many bytes are received whole, unfiltered; 0: none
	trailers       uint32 // a mask of packetMeta.trailer; 0: comments are not wanted

	bare, framed tpacket.Offsets // of packets without and with an Ethernet header

	budget       *Budget    // charged for queued packets
	grant        *granted   // nil: no restriction
	account      *Account   // nil: none, or the fanout group's
	unrestricted *rxOptions // the same without grant and account; nil: it has neither
}

// setWhole sets whole from the other options.
func (rx *rxOptions) setWhole() {
	if rx.filter == nil && !rx.dgram && !rx.ignoreOutgoing && rx.vnetLen == 0 && rx.framed.Net <= maxOffset && rx.framed.Mac < rx.frameSize {
		rx.whole = rx.frameSize - rx.framed.Mac
	}
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

// receive delivers a packet that wants has accepted, and wakes the reader.
func (s *Socket) receive(p *Packet, meta *packetMeta) {
	if s.receiveQuietly(s.rx.Load(), p, meta) { // pairs with the store in Socket.publishLocked
		s.notify.FenceAndWake()
	}
}

// receiveQuietly is receive for a caller that wakes the reader of the ring, if it returns true:
// with a full barrier before.
func (s *Socket) receiveQuietly(rx *rxOptions, p *Packet, meta *packetMeta) (wake bool) {
	if rx.unrestricted != nil {
		return s.receiveGranted(rx, p, meta)
	}
	return s.receiveOne(rx, p, meta)
}

// receiveOne is a packet's life at one socket, in the order of tpacket_rcv
// (net/packet/af_packet.c): filter, measure, acquire, stamp, copy, release. The caller wakes.
func (s *Socket) receiveOne(rx *rxOptions, p *Packet, meta *packetMeta) (wake bool) {
	snaplen, cut := meta.capLen, false
	if !rx.receivesWhole(meta) {
		var ok bool
		if snaplen, cut, ok = s.admit(rx, p, meta); !ok {
			return false
		}
	}
	if rx.ring == nil { // then it wakes by itself
		s.receiveWithoutSlots(rx, p, meta, snaplen)
		return false
	}
	if slot, verdict := rx.ring.Acquire(); verdict == ring.Acquired {
		status := rx.fill(rx.ring.Frame(slot), p, meta, snaplen) | s.losing()
		if cut && s.enqueueCopy(rx, p, meta) {
			status |= tpacket.StatusCopy
		}
		rx.ring.Release(slot, status)
	} else {
		s.counters.Drop(verdict, 1)
	}
	return true
}

// losing is TP_STATUS_LOSING if the socket has lost packets, else 0.
func (s *Socket) losing() (status uint32) {
	if s.counters.Losing() {
		return tpacket.StatusLosing
	}
	return 0
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
	protocol := uint16(s.protocol.Load()) // pairs with the store in bindLocked
	for i := range ps {
		p, meta := &ps[i], &metas[i]
		if mask&(1<<i) == 0 || meta.length == 0 || !matchesProtocol(protocol, p, meta) {
			continue
		}
		snaplen, cut := meta.capLen, false
		if !rx.receivesWhole(meta) {
			var ok bool
			if snaplen, cut, ok = s.admit(rx, p, meta); !ok {
				continue
			}
		}
		admitted[n], snaplens[n] = uint8(i), snaplen
		if cut {
			cuts |= 1 << n
		}
		n++
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
			slot, p, meta := slots[done], &ps[admitted[done]], &metas[admitted[done]]
			now.stamp(meta)
			status := rx.fill(rx.ring.Frame(slot), p, meta, snaplens[done]) | s.losing()
			if cuts&(1<<done) != 0 && s.enqueueCopy(rx, p, meta) {
				status |= tpacket.StatusCopy
			}
			rx.ring.Release(slot, status)
			done++
		}
	}
	s.notify.FenceAndWake()
}

// receivesWhole reports whether the socket receives all bytes of the packet, without a filter.
func (rx *rxOptions) receivesWhole(meta *packetMeta) bool {
	return meta.maclen == etherLen && meta.capLen-1 < rx.whole
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
