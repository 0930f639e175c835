package rxring

import "github.com/rxring/rxring/tpacket"

// vlanLen is VLAN_HLEN: a tag's bytes in a frame, TCI and the EtherType behind it.
const vlanLen = 4

// maxTags is how many tags in a frame Linux follows (VLAN_MAX_DEPTH in
// linux/if_vlan.h, less one); one fewer of a packet that comes in, where its count
// starts at the EtherType that says that there is a tag.
const maxTags = 7

// vidMask is VLAN_VID_MASK, the VLAN's number in a TCI.
const vidMask = 0x0fff

func isVLAN(protocol uint16) bool {
	return protocol == tpacket.ETHP8021Q || protocol == tpacket.ETHP8021AD
}

// tags is what a packet whose protocol is a VLAN's has in its frame.
type tags struct {
	found bool
	tci   uint16 // of the outermost; 0 when it is cut off
	inner uint16 // protocol behind them all; 0 when it is cut off
	end   uint16 // bytes of the frame up to there
}

// readTags follows the tags behind the addresses of the frame. Those of an
// outgoing packet belong to its link-layer header, as packet_parse_headers
// (net/packet/af_packet.c) has it.
func (meta *packetMeta) readTags(p *Packet) {
	meta.tags.found = true
	at := etherLen
	if tci, ok := p.uint16At(at); ok {
		if _, ok := p.uint16At(at + 2); ok { // Linux reads whole tags
			meta.tags.tci = tci
		}
	}
	follow := maxTags
	if !p.Outgoing {
		follow--
	}
	for range follow {
		protocol, ok := p.uint16At(at + 2)
		if !ok {
			return
		}
		at += vlanLen
		if !isVLAN(protocol) {
			meta.tags.inner, meta.tags.end = protocol, uint16(at)
			// packet_parse_headers (net/packet/af_packet.c) moves the network header of
			// ARPHRD_ETHER alone, and treats protocol 0 as not found.
			if p.Outgoing && protocol != 0 && meta.from.Hatype == tpacket.ARPHRDEther {
				meta.maclen = uint32(at)
			}
			return
		}
	}
}

// vlan returns the tag that the socket shows: the one beside the frame or, as a SOCK_DGRAM
// socket does not see tags in the frame, the outermost of them.
func (rx *rxOptions) vlan(p *Packet, meta *packetMeta) VLAN {
	if rx.dgram && meta.tags.found && p.VLAN.TPID == 0 {
		return VLAN{TPID: meta.protocol, TCI: meta.tags.tci}
	}
	return p.VLAN
}

// stampExtra writes what only few packets have, and returns its bits of tp_status. The packet's
// bytes end at end. Like stampVnet it is not inlined into fill.
//
//go:noinline
func (rx *rxOptions) stampExtra(frame []byte, end uint32, p *Packet, meta *packetMeta) (status uint32) {
	if meta.extra&extraLink != 0 {
		p.Link.stamp(tpacket.SockaddrLLAt(frame, rx.version))
	}
	if meta.extra&extraVLAN != 0 {
		status = rx.stampVLAN(frame, p, meta)
	}
	if meta.extra&extraComment != 0 && rx.trailers != 0 {
		status |= stampComment(frame[min(end, uint32(len(frame))):], p.Comment)
	}
	return status
}

// stampVLAN puts the tag into the header, and the protocol as the socket shows it
// behind it.
func (rx *rxOptions) stampVLAN(frame []byte, p *Packet, meta *packetMeta) (status uint32) {
	tag := rx.vlan(p, meta)
	switch rx.version {
	case tpacket.V2:
		h := tpacket.Header2At(frame)
		h.VLANTCI, h.VLANTPID = tag.TCI, tag.TPID
	case tpacket.V3:
		h := tpacket.Header3At(frame)
		h.VLANTCI, h.VLANTPID = uint32(tag.TCI), tag.TPID
	}
	if rx.version != tpacket.V1 {
		status = tag.status()
	}
	tpacket.SockaddrLLAt(frame, rx.version).Protocol = rx.protocol(meta)
	return status
}

// protocol is sll_protocol as the socket shows it: behind the tags of the frame,
// if it does not see them.
func (rx *rxOptions) protocol(meta *packetMeta) uint16 {
	if rx.dgram && meta.tags.found {
		return tpacket.Htons(meta.tags.inner)
	}
	return meta.from.Protocol
}

// status is the bits of tp_status for a tag that is shown.
func (v VLAN) status() uint32 {
	if v.TPID == 0 {
		return 0
	}
	return tpacket.StatusVLANValid | tpacket.StatusVLANTPID
}

// deliverTagged is deliver for a packet that comes in with a VLAN tag, in the order of
// __netif_receive_skb_core (net/core/dev.c): the tag moves beside the frame; sockets for
// all protocols get the packet; then come VLAN devices, of which there are none; sockets
// for one protocol get it last, without a tag and as a packet for another host. It
// reports false for a frame that ends within its tag: no socket counts it, as in Linux.
func (d *Device) deliverTagged(p *Packet, meta *packetMeta, taps []tap) (whole bool) {
	var (
		head    [untagHead]byte
		rest    [maxPieces][]byte
		first   []byte
		more    [][]byte
		q       = *p
		removed = 0 // tags taken out of the frame
		n       int
		ok      bool
	)
	if p.VLAN.TPID == 0 {
		removed = 1
		if q, first, more, ok = untag(p, removed, head[:]); !ok {
			return false
		}
		rest, n = pieces(first, more)
		q.Rest = rest[:n]
		if !meta.remeasure(d, p, &q, removed) {
			return true
		}
	}
	for _, t := range taps {
		if t.protocol() == tpacket.ETHPAll {
			t.receive(&q, meta)
		}
	}
	for q.VLAN.TCI&vidMask == 0 && p.tagAt(tagOffset+removed*vlanLen, &q.VLAN) {
		removed++ // VLAN 0 is none: the next tag counts
	}
	if removed > 0 {
		if q, first, more, ok = untag(p, removed, head[:]); !ok {
			return true
		}
		rest, n = pieces(first, more)
		q.Rest = rest[:n]
		if !meta.remeasure(d, p, &q, removed) {
			return true
		}
	}
	if q.VLAN.TCI&vidMask != 0 {
		meta.from.Pkttype = tpacket.PacketOtherHost
	}
	meta.strippedVLAN, q.VLAN = q.VLAN, VLAN{} // a grant's filter still sees it
	for _, t := range taps {
		if protocol := t.protocol(); protocol == meta.protocol && protocol != tpacket.ETHPAll {
			t.receive(&q, meta)
		}
	}
	return true
}

const (
	tagOffset = 2 * etherAddrLen // of the first tag in a frame
	untagHead = 192              // bytes of a frame that untag puts into one piece, for filters
	maxPieces = 16               // more are put together
)

// untag returns p without the first n tags of its frame; the last of them is beside the
// packet it returns. The packet's beginning is copied to head; the pieces behind it are
// returned as first and more. It reports false for a frame that ends before the two bytes
// behind the tags, which skb_vlan_untag (net/core/skbuff.c) drops.
func untag(p *Packet, n int, head []byte) (q Packet, first []byte, more [][]byte, ok bool) {
	removed := n * vlanLen
	if _, ok := p.uint16At(etherLen + removed); !ok {
		return q, nil, nil, false
	}
	q = *p
	p.tagAt(tagOffset+removed-vlanLen, &q.VLAN)
	q.Len = p.Len - removed
	q.ChecksumStart = p.ChecksumStart - uint16(min(removed, int(p.ChecksumStart)))
	length, skip := copy(head, p.Data[:tagOffset]), tagOffset+removed
	for first, more = p.Data, p.Rest; ; first, more = more[0], more[1:] {
		if skip < len(first) {
			copied := copy(head[length:], first[skip:])
			length += copied
			first, skip = first[skip+copied:], 0
			if len(first) > 0 {
				break
			}
		} else {
			skip -= len(first)
			first = nil
		}
		if len(more) == 0 {
			break
		}
	}
	q.Data = head[:length]
	return q, first, more, true
}

// pieces returns first and more as at most maxPieces pieces.
func pieces(first []byte, more [][]byte) (list [maxPieces][]byte, n int) {
	if len(first) == 0 {
		return list, 0
	}
	list[0], n = first, 1
	for i, piece := range more {
		if n == maxPieces-1 {
			list[n] = concat(piece, more[i+1:])
			return list, maxPieces
		}
		if len(piece) > 0 {
			list[n] = piece
			n++
		}
	}
	return list, n
}

// remeasure is measure for q, which is p without n of its tags. A time that was read
// already stays.
func (meta *packetMeta) remeasure(d *Device, p, q *Packet, n int) bool {
	timestamp := meta.timestamp
	*meta = packetMeta{}
	if meta.measure(d, q) == malformed {
		return false
	}
	meta.timestamp = max(meta.timestamp, timestamp)
	meta.headLen = uint32(max(len(p.Data)-n*vlanLen, 0))
	return true
}

// concat returns the pieces as one.
func concat(piece []byte, more [][]byte) []byte {
	b := append([]byte(nil), piece...)
	for _, piece := range more {
		b = append(b, piece...)
	}
	return b
}

// tagAt reads the VLAN tag at offset pos of the frame into tag, if there is one.
func (p *Packet) tagAt(pos int, tag *VLAN) bool {
	tpid, _ := p.uint16At(pos)
	tci, ok := p.uint16At(pos + 2)
	if !ok || !isVLAN(tpid) {
		return false
	}
	*tag = VLAN{TPID: tpid, TCI: tci}
	return true
}
