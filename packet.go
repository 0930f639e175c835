package rxring

import (
	"sync"

	"github.com/rxring/rxring/tpacket"
)

// Packet is one packet to deliver to a device's sockets, with the fields that Linux has
// in an sk_buff. Only Data must be set.
//
// Deliver reads a Packet and its bytes until it returns and keeps no reference.
type Packet struct {
	// Data is the frame, link-layer header first (no header on a raw-IP
	// device). Rest holds further pieces of it, in order, for packets that are
	// not in one slice; the link-layer header must be whole within Data.
	Data []byte
	Rest [][]byte

	// Len is the packet's original length in bytes if Data and Rest are only its
	// beginning, as in a capture with a snaplen. Sockets report it as the packet's
	// length. A Len below the number of bytes in Data and Rest, such as 0, is ignored: they
	// are the whole packet.
	Len int

	// Timestamp is the packet's time in nanoseconds since the Unix epoch. If it is 0 and
	// a socket accepts the packet, the clock is read: once per Deliver, and once per
	// socket and batch in DeliverBatch.
	Timestamp int64

	// Outgoing marks a packet that this host sends. The packet type of a received
	// packet follows from its destination address, as in eth_type_trans.
	Outgoing bool

	// Checksum and GSO are the offload state (linux/virtio_net.h).
	Checksum ChecksumState
	GSO      GSO

	// ChecksumStart and ChecksumOffset are used with ChecksumPartial: the offset in
	// bytes at which the hardware starts to sum, and the distance from there to the
	// checksum field (csum_start, csum_offset). Only PACKET_VNET_HDR reports them.
	ChecksumStart, ChecksumOffset uint16

	// VLAN is the tag that a card took out of the frame. A tag in the frame of a
	// packet that comes in is taken out as Linux does it; one in the frame of an
	// outgoing packet stays there.
	VLAN VLAN

	// Hash is the flow hash (skb->hash), Mark skb->mark, Queue
	// skb->queue_mapping, CPU the number of the CPU that delivers: what cBPF's
	// ancillary loads return.
	Hash  uint32
	Mark  uint32
	Queue uint16
	CPU   uint16

	// Priority is skb->priority, which SO_RCVPRIORITY shows.
	Priority uint32

	// Bypass says, to a [TransmitFunc], that the sender has set
	// PACKET_QDISC_BYPASS: the frame goes straight to the driver, and no socket sees
	// it. Deliver ignores it.
	Bypass bool

	// Comment is text about the packet, such as the peer or the rule that it belongs to, of
	// which 4096 bytes are kept. `rxring dump` writes it as the packet's opt_comment, and Go
	// programs read it with package capture (Config.Comments). A socket whose [Grant] has a
	// Filter or a Snaplen gets none.
	Comment string

	// Link is what a driver knows of the packet beside its bytes; nil: what the
	// device's type finds in the bytes. Ethernet and loopback devices ignore it.
	Link *Link
}

// Link describes the link layer of a packet whose bytes do not, as a PPP interface's
// driver does: in Linux, fields of the sk_buff and what dev_parse_header returns.
type Link struct {
	Protocol  uint16             // an EtherType or another ETH_P_*, host byte order (skb->protocol)
	Type      tpacket.PacketType // skb->pkt_type of a packet that comes in
	HeaderLen uint16             // bytes of Data before the network header, which SOCK_DGRAM sockets do not see
	Addr      [8]byte            // the sender's address (sll_addr)
	AddrLen   uint8              // its length in bytes (sll_halen), at most 8 of which are in Addr

	// Hatype and Ifindex replace the device's in the sockaddr_ll that readers get,
	// for packets that were captured on other devices; 0: the device's own. Filters
	// and grants go by the device's.
	Hatype  uint16
	Ifindex int32
}

// ChecksumState says what is known of the transport checksum.
type ChecksumState uint8

const (
	ChecksumNone    ChecksumState = iota // nothing known
	ChecksumPartial                      // left to the card: TP_STATUS_CSUMNOTREADY
	ChecksumValid                        // already verified: TP_STATUS_CSUM_VALID on received packets
)

// GSO describes a segment larger than the wire's, as struct virtio_net_hdr
// does. The zero value means an ordinary packet.
type GSO struct {
	Type   GSOType
	Size   uint16 // payload bytes of each packet it stands for
	HdrLen uint16 // bytes of headers that each of them repeats; Linux shows len(Data) in its place
}

// GSOType is the kind of a large segment (VIRTIO_NET_HDR_GSO_*).
type GSOType uint8

const (
	GSONone  GSOType = 0 // VIRTIO_NET_HDR_GSO_NONE
	GSOTCPv4 GSOType = 1 // VIRTIO_NET_HDR_GSO_TCPV4
	GSOUDP   GSOType = 3 // VIRTIO_NET_HDR_GSO_UDP
	GSOTCPv6 GSOType = 4 // VIRTIO_NET_HDR_GSO_TCPV6
	GSOUDPL4 GSOType = 5 // VIRTIO_NET_HDR_GSO_UDP_L4

	GSOECN GSOType = 0x80 // VIRTIO_NET_HDR_GSO_ECN, beside a TCP type: its first packet alone has the CWR flag
)

// VLAN is a tag carried beside the frame. TPID 0 means that there is none.
type VLAN struct {
	TPID uint16 // 0x8100 or 0x88a8
	TCI  uint16
}

// uint16At reads a big-endian number at offset pos of the packet, across pieces.
func (p *Packet) uint16At(pos int) (v uint16, ok bool) {
	piece, rest := p.Data, p.Rest
	for range 2 {
		for pos >= len(piece) {
			if len(rest) == 0 {
				return 0, false
			}
			pos -= len(piece)
			piece, rest = rest[0], rest[1:]
		}
		v = v<<8 | uint16(piece[pos])
		pos++
	}
	return v, true
}

// Batch collects packets of one device that are delivered together, for adapters around
// a stack or a tunnel. It is reused, and allocates nothing in the long run. One goroutine
// at a time may use a Batch.
//
//	if b := dev.Batch(); b != nil { // nil: no socket is attached, and there is nothing to do
//		for i, n := range sizes {
//			p := b.Next()
//			p.Data, p.Outgoing = bufs[i][offset:offset+n], true
//		}
//		b.Deliver()
//	}
type Batch struct {
	dev     *Device
	n       int // packets in use
	packets [maxBatch]Packet
	pieces  [][]byte // of all packets: their Rest
	rest    int      // where those of the last packet begin
}

// maxKeptPieces is how many pieces a Batch keeps room for when it is not used.
const maxKeptPieces = 16 * maxBatch

var batches = sync.Pool{New: func() any { return new(Batch) }}

// Batch returns an empty batch for the device, or nil if HasListeners is false. The caller
// must call Deliver once it has added its packets.
func (d *Device) Batch() *Batch {
	if d.taps.Load() == nil { // a hint: Deliver loads it again
		return nil
	}
	return d.newBatch()
}

func (d *Device) newBatch() *Batch {
	b := batches.Get().(*Batch)
	b.dev = d
	return b
}

// Next adds a packet and returns it, zero, for the caller to fill. If the batch is full, the
// packets in it are delivered first. The packet and the bytes that it refers to must stay
// as they are until Deliver returns.
func (b *Batch) Next() *Packet {
	if b.n == len(b.packets) {
		b.flush()
	}
	b.n++
	b.rest = len(b.pieces)
	return &b.packets[b.n-1]
}

// AddPiece appends to the packet that Next returned last: the first piece becomes its Data,
// which must hold the whole link-layer header, and those after it its Rest. Empty pieces are
// left out.
func (b *Batch) AddPiece(piece []byte) {
	p := &b.packets[b.n-1]
	switch {
	case len(piece) == 0:
	case p.Data == nil:
		p.Data = piece
	default:
		b.pieces = append(b.pieces, piece)
		p.Rest = b.pieces[b.rest:]
	}
}

// Deliver delivers the packets, as [Device.DeliverBatch] does, and ends the batch: the caller
// must not use it any more.
func (b *Batch) Deliver() {
	b.flush()
	b.dev = nil
	if cap(b.pieces) > maxKeptPieces {
		b.pieces = nil
	}
	batches.Put(b)
}

// flush delivers the packets and leaves the batch empty. It keeps no reference to their
// bytes.
func (b *Batch) flush() {
	if b.n == 1 { // most calls of a network stack have one packet
		b.dev.Deliver(&b.packets[0])
	} else {
		b.dev.DeliverBatch(b.packets[:b.n])
	}
	clear(b.packets[:b.n])
	clear(b.pieces)
	b.n, b.pieces = 0, b.pieces[:0]
}
