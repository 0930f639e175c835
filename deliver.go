package rxring

import (
	"math"
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
// with a ring acquires room for up to 32 at once, unless its grant hides something.
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
	if k := meta.measure(d, p); k != ordinary {
		d.deliverUnusual(k, p, &meta, taps)
		return
	}
	var due *Socket // the last whose reader is to be woken: after the count, whose atomic add is the full barrier
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

// deliverUnusual delivers a packet that is not ordinary.
//
//go:noinline
func (d *Device) deliverUnusual(k kind, p *Packet, meta *packetMeta, taps []tap) {
	if k == malformed {
		d.dropMalformed(taps)
		return
	}
	d.traffic.of(p).add(1, uint64(meta.length))
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

func (m batchMask) first() int { return bits.TrailingZeros32(uint32(m)) % maxBatch }

func (m batchMask) rest() batchMask { return m & (m - 1) }

func (m batchMask) len() int { return bits.OnesCount32(uint32(m)) }

// measuredBatch is up to maxBatch packets with their metadata.
type measuredBatch struct {
	packets   []Packet
	metas     []packetMeta // as many; length 0: malformed, to be skipped
	malformed int          // packets
	longest   uint32       // bytes of the longest packet; MaxUint32: not all are Ethernet frames
}

func (b *measuredBatch) all() batchMask { return ^batchMask(0) >> (maxBatch - len(b.packets)) }

// fewPackets is how many packets need so little memory for their metadata that clearing the rest
// would cost more than they do.
const fewPackets = 8

// deliverBatch is deliver for up to maxBatch packets.
func (d *Device) deliverBatch(ps []Packet, taps []tap) {
	if len(ps) <= fewPackets {
		var metas [fewPackets]packetMeta
		d.deliverMeasured(&measuredBatch{packets: ps, metas: metas[:len(ps)]}, taps)
	} else {
		var metas [maxBatch]packetMeta
		d.deliverMeasured(&measuredBatch{packets: ps, metas: metas[:len(ps)]}, taps)
	}
}

// deliverMeasured measures and delivers a batch with empty metadata.
func (d *Device) deliverMeasured(b *measuredBatch, taps []tap) {
	ps, metas := b.packets, b.metas[:len(b.packets)]
	for i := range ps {
		if k := metas[i].measure(d, &ps[i]); k != ordinary && d.deliverSplit(b, i, k, taps) {
			return
		}
	}
	d.offerBatch(b, taps)
}

// deliverSplit takes packet i, which is not ordinary, out of the batch. A tagged one is delivered
// alone, in its place among the others: then all of them have been delivered, and it returns true.
//
//go:noinline
func (d *Device) deliverSplit(b *measuredBatch, i int, k kind, taps []tap) (done bool) {
	p, meta, after := &b.packets[i], &b.metas[i], b.packets[i+1:]
	if k == malformed {
		d.dropMalformed(taps)
		*meta = packetMeta{from: d.from} // accounts go by its interface
		b.malformed++
		return false
	}
	b.packets, b.metas = b.packets[:i], b.metas[:i]
	d.offerBatch(b, taps)
	d.deliverUnusual(k, p, meta, taps)
	d.deliverBatch(after, taps)
	return true
}

func (d *Device) offerBatch(b *measuredBatch, taps []tap) {
	if len(b.packets) == 0 { // a tagged packet was the first, or the last
		return
	}
	in, out := b.sum()
	d.traffic.add(in, out)
	for _, t := range taps {
		if t.group != nil {
			t.group.deliverBatch(b)
		} else {
			t.socket.receiveBatch(b, b.all())
		}
	}
}

// sum computes longest, and returns what the device counts.
func (b *measuredBatch) sum() (in, out Traffic) {
	longest := uint32(0)
	metas := b.metas[:len(b.packets)]
	for i := range b.packets {
		n := uint64(metas[i].length)
		in.Bytes += n
		if b.packets[i].Outgoing && n > 0 {
			out.Packets++
			out.Bytes += n
		}
		longest = max(longest, metas[i].capLen)
		if metas[i].maclen != etherLen {
			longest = math.MaxUint32
		}
	}
	b.longest = longest
	in.Packets = uint64(len(b.packets)-b.malformed) - out.Packets
	in.Bytes -= out.Bytes
	return in, out
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
	slots          *writer.Ring   // V1 and V2; nil: none
	blocks         *writer.Blocks // V3; nil: none
	epoch          uint32         // of the queue
	filter         *cbpf.Filter
	version        tpacket.Version
	dgram          bool
	ignoreOutgoing bool
	fillHash       bool   // V3: tp_rxhash is asked for
	stampsMore     bool   // each packet needs stampMore
	frameSize      uint32 // bytes that a packet has room in, headers included
	net            uint32 // where the network header is of a packet without a link-layer header
	vnetLen        uint32 // PACKET_VNET_HDR_SZ
	copyWhole      bool   // PACKET_COPY_THRESH: what a slot cuts goes to the queue, too
	whole          uint32 // Ethernet frames of up to so many bytes are received whole, without running the filter; 0: none
	trailers       uint32 // a mask of packetMeta.trailer; 0: comments are not wanted

	budget       *Budget    // charged for queued packets
	grant        *granted   // nil: no restriction
	account      *Account   // nil: none, or the fanout group's
	unrestricted *rxOptions // the same without grant and account; nil: it has neither
}

// setWhole sets whole from the other options. libpcap attaches a filter without conditions where
// it has none.
func (rx *rxOptions) setWhole() {
	keep, constant := uint32(math.MaxUint32), true
	if rx.filter != nil {
		keep, constant = rx.filter.Constant()
	}
	if at := rx.offsets(etherLen); constant && !rx.dgram && !rx.ignoreOutgoing && rx.vnetLen == 0 && at.Net <= maxOffset && at.Mac < rx.frameSize {
		rx.whole = min(rx.frameSize-at.Mac, keep)
	}
}

// offsets returns where the headers of a packet are placed in a frame. The socket sees maclen
// bytes of link-layer header.
func (rx *rxOptions) offsets(maclen uint32) tpacket.Offsets {
	net := rx.net
	if maclen > nearMac {
		net += uint32(tpacket.Align(int(maclen - nearMac)))
	}
	return tpacket.Offsets{Mac: net - maclen, Net: net}
}

// nearMac is how much link-layer header fits between a frame's header and the network header of
// a packet without one, for which Linux leaves room for 16 bytes: TPACKET_HDRLEN is 12 less than
// a multiple of the alignment in all versions.
const nearMac = 16 + 12

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
// (net/packet/af_packet.c): filter, acquire, stamp, copy, release. The caller wakes, also if
// the packet was dropped, as there.
func (s *Socket) receiveOne(rx *rxOptions, p *Packet, meta *packetMeta) (wake bool) {
	snaplen, wantCopy := meta.capLen, false
	if !rx.receivesWhole(meta) {
		var ok bool
		if snaplen, wantCopy, ok = s.admit(rx, p, meta); !ok {
			return false
		}
	}
	if rx.slots == nil { // receiveWithoutSlots wakes
		s.receiveWithoutSlots(rx, p, meta, snaplen)
		return false
	}
	slot, verdict := rx.slots.Acquire()
	if verdict != ring.Acquired {
		s.counters.Drop(verdict, 1)
		return true
	}
	meta.stamp()
	status := s.losing()
	if wantCopy && s.enqueueCopy(rx, p, meta) {
		status |= tpacket.StatusCopy
	}
	status |= rx.fill(rx.slots.Frame(slot), p, meta, snaplen)
	rx.slots.Release(slot, status)
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
func (s *Socket) receiveBatch(b *measuredBatch, mask batchMask) {
	rx := s.rx.Load() // pairs with the store in Socket.publishLocked
	if rx.unrestricted != nil {
		s.receiveBatchGranted(rx, b, mask)
	} else {
		s.receiveBatchUnrestricted(rx, b, mask)
	}
}

// receiveBatchUnrestricted is receiveBatch for a socket without grant and account.
func (s *Socket) receiveBatchUnrestricted(rx *rxOptions, b *measuredBatch, mask batchMask) {
	var (
		snaplens   [maxBatch]uint32
		slots      [maxBatch]uint32
		wantCopies batchMask
		now        batchClock
	)
	protocol := uint16(s.protocol.Load()) // pairs with the store in bindLocked
	whole := protocol == tpacket.ETHPAll && rx.receivesAllWhole(b)
	if !whole {
		mask, wantCopies = s.admitBatch(rx, b, mask, protocol, &snaplens)
	}
	if mask == 0 {
		return
	}
	if rx.slots == nil {
		if whole {
			for i := range b.metas {
				snaplens[i] = b.metas[i].capLen
			}
		}
		s.receiveBatchWithoutSlots(rx, b, mask, &snaplens)
		return
	}
	r, ps, metas := rx.slots, b.packets, b.metas[:len(b.packets)]
	for mask != 0 {
		got, verdict := r.AcquireBatch(slots[:mask.len()])
		if verdict != ring.Acquired { // the next packet is dropped; those after it try again
			s.counters.Drop(verdict, 1)
			mask = mask.rest()
			continue
		}
		losing := s.losing()
		for _, slot := range slots[:got] {
			i := mask.first()
			p, meta := &ps[i], &metas[i]
			now.stamp(meta)
			status, snaplen := losing, meta.capLen
			if !whole {
				snaplen = snaplens[i]
				if wantCopies&(1<<i) != 0 && s.enqueueCopy(rx, p, meta) {
					status |= tpacket.StatusCopy
				}
			}
			status |= rx.fill(r.Frame(slot), p, meta, snaplen)
			r.Release(slot, status)
			mask = mask.rest()
		}
	}
	s.notify.FenceAndWake()
}

// receiveBatchWithoutSlots is receiveWithoutSlots for the packets in mask.
func (s *Socket) receiveBatchWithoutSlots(rx *rxOptions, b *measuredBatch, mask batchMask, snaplens *[maxBatch]uint32) {
	var now batchClock
	for rest := mask; rest != 0; rest = rest.rest() {
		now.stamp(&b.metas[rest.first()])
	}
	if rx.blocks != nil {
		s.receiveBlocks(rx, b, mask, snaplens)
		return
	}
	for ; mask != 0; mask = mask.rest() {
		i := mask.first()
		s.enqueue(rx, &b.packets[i], &b.metas[i], snaplens[i])
	}
}

// admitBatch returns which packets in mask are for the socket, and of which a whole copy is
// wanted, with the bytes that fit into a frame in snaplens.
func (s *Socket) admitBatch(rx *rxOptions, b *measuredBatch, mask batchMask, protocol uint16, snaplens *[maxBatch]uint32) (admitted, wantCopies batchMask) {
	for ; mask != 0; mask = mask.rest() {
		i := mask.first()
		p, meta := &b.packets[i], &b.metas[i]
		if meta.length == 0 || !matchesProtocol(protocol, p, meta) {
			continue
		}
		snaplen, wantCopy := meta.capLen, false
		if !rx.receivesWhole(meta) {
			var ok bool
			if snaplen, wantCopy, ok = s.admit(rx, p, meta); !ok {
				continue
			}
		}
		snaplens[i] = snaplen
		admitted |= 1 << i
		if wantCopy {
			wantCopies |= 1 << i
		}
	}
	return admitted, wantCopies
}

// receivesWhole reports whether the socket receives all bytes of the packet, whatever is in them.
func (rx *rxOptions) receivesWhole(meta *packetMeta) bool {
	return meta.maclen == etherLen && meta.capLen-1 < rx.whole
}

// receivesAllWhole is receivesWhole for all packets of the batch.
func (rx *rxOptions) receivesAllWhole(b *measuredBatch) bool { return b.longest <= rx.whole }

// admit runs the filter and returns how many bytes of the packet the frame gets, whether a whole
// copy is wanted of one that the frame cuts, and whether it is accepted. A refused packet has
// been counted, unless the socket ignores outgoing ones.
func (s *Socket) admit(rx *rxOptions, p *Packet, meta *packetMeta) (snaplen uint32, wantCopy, ok bool) {
	if rx.ignoreOutgoing && p.Outgoing {
		return 0, false, false
	}
	skip := rx.skipLen(meta)
	snaplen = meta.capLen - skip
	keep := snaplen // in Linux, too, an empty packet is refused unless a filter wants it
	if rx.filter != nil {
		keep = meta.runFilter(rx.filter, p, skip)
		snaplen = min(snaplen, keep)
	}
	if keep == 0 {
		s.counters.Filtered()
		return 0, false, false
	}
	at := rx.offsets(meta.maclen - skip)
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
