package cbpf

// Packet is the input of a filter: the fields of struct sk_buff that classic BPF can
// load. A filter keeps no reference to it. The same Packet can be passed to the filters
// of all sockets; only Start differs between SOCK_RAW and SOCK_DGRAM.
type Packet struct {
	Data []byte   // the frame's first piece, from its link-layer header on
	Rest [][]byte // further pieces of it
	Len  uint32   // bytes in all pieces together

	// Start is the offset in Data of the program's offset 0: 0 for SOCK_RAW, the
	// length of the link-layer header for SOCK_DGRAM, whose programs can load from
	// that header with SKF_LL_OFF only.
	Start uint32
	// NetOff is the offset of the network header in Data (SKF_NET_OFF).
	NetOff uint32

	Ifindex     uint32 // of the device
	Mark        uint32
	RxHash      uint32
	CPU         uint32
	Protocol    uint16 // EtherType (skb->protocol), host byte order
	Hatype      uint16 // the device's ARPHRD_*
	Queue       uint16 // skb->queue_mapping: for a received packet, its queue plus 1, or 0
	VLANTCI     uint16
	VLANTPID    uint16 // host byte order
	VLANPresent bool   // a tag is kept beside the frame, in VLANTCI and VLANTPID
	PacketType  uint8  // PACKET_HOST, ..., PACKET_OUTGOING
}

// view returns the first piece from the program's offset 0 on.
func (p *Packet) view() []byte {
	if uint64(p.Start) > uint64(len(p.Data)) {
		return nil
	}
	return p.Data[p.Start:]
}

// load reads a big-endian number of size bytes for a program: anywhere in the
// packet, and by any of the three kinds of offset.
func (p *Packet) load(off uint32, size uint8) (v uint32, ok bool) {
	pos := uint64(off)
	switch {
	case off < 1<<31:
		pos += uint64(p.Start)
	case off >= NetOff:
		pos += uint64(p.NetOff) - NetOff
	case off >= LLOff:
		pos -= LLOff
	default:
		return 0, false
	}
	return p.at(pos, size)
}

// at reads a big-endian number of size bytes, pos bytes into the frame. It may
// span pieces.
func (p *Packet) at(pos uint64, size uint8) (v uint32, ok bool) {
	piece, rest := p.Data, p.Rest
	for {
		if pos < uint64(len(piece)) {
			for _, b := range piece[pos:min(pos+uint64(size), uint64(len(piece)))] {
				v = v<<8 | uint32(b)
				pos++
				size--
			}
			if size == 0 {
				return v, true
			}
		}
		if len(rest) == 0 {
			return 0, false
		}
		pos -= uint64(len(piece))
		piece, rest = rest[0], rest[1:]
	}
}
