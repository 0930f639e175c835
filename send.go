package rxring

import (
	"encoding/binary"
	"os"
	"sync"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/gso"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/tpacket"
)

// txOptions holds a socket's options as sending needs them. It is immutable: a changed option
// publishes a new one.
type txOptions struct {
	group      *group // of fanout
	grant      *granted
	ring       *writer.TxRing
	version    tpacket.Version // of the ring
	closed     bool
	dgram      bool
	bypass     bool // PACKET_QDISC_BYPASS
	loss       bool // PACKET_LOSS
	hasOffsets bool // PACKET_TX_HAS_OFF
	noFCS      bool // SO_NOFCS
	vnetLen    int  // PACKET_VNET_HDR_SZ
	mark       uint32
	priority   uint32
}

// publishTxLocked publishes the options for sending.
func (s *Socket) publishTxLocked() {
	flag := func(name int) bool { return s.flags[option{tpacket.SolPacket, name}] != 0 }
	s.tx.Store(&txOptions{ // pairs with the load in SendTo
		group:      s.group,
		grant:      s.grant,
		ring:       s.txRing,
		version:    s.version,
		closed:     s.closed,
		dgram:      s.typ == SockDgram,
		bypass:     flag(tpacket.OptQdiscBypass),
		loss:       flag(tpacket.OptLoss),
		hasOffsets: flag(tpacket.OptTxHasOff),
		noFCS:      s.flags[option{tpacket.SolSocket, soNofcs}] != 0,
		vnetLen:    int(s.vnetLen),
		mark:       uint32(s.flags[option{tpacket.SolSocket, soMark}]),
		priority:   uint32(s.flags[option{tpacket.SolSocket, soPriority}]),
	})
}

// setDeviceLocked records the device that the socket is bound to and sends through, nil for
// none. It must be called with Namespace.mu held.
func (s *Socket) setDeviceLocked(d *Device) {
	if s.device != nil {
		s.device.removeBoundLocked(s)
	}
	if d != nil {
		d.bound = append(d.bound, s)
	}
	s.device = d
	s.boundDevice.Store(d) // pairs with the load in route
}

// Send sends one frame through the device that the socket is bound to: link-layer
// header first on a SOCK_RAW socket. A SOCK_DGRAM socket needs an address to make
// that header of, unless the device has none: SendTo. On a socket with a transmit
// ring, see SetTxRing, the frames that are due there are sent, and frame is not
// looked at.
func (s *Socket) Send(frame []byte) (n int, err error) { return s.SendTo(frame, nil) }

// SendTo sends one frame, as sendto does. With an address it goes through the
// address's device (Ifindex) and has its protocol; what else is in the address is
// the receiver's (Addr), from which a SOCK_DGRAM socket makes the link-layer
// header. Without one, device and protocol are what the socket is bound to.
//
// Every socket that would see the frame leave a Linux host does, but for this one
// and those in its fanout group; then the device's transmit function gets it. A
// frame is not modified, and nothing of it is kept. Frames of several goroutines
// leave side by side.
//
// n is the frame's length, as it was given; or the bytes of all frames that a transmit
// ring has sent, also with EAGAIN, which says that the device has no room for more now (see
// [Device.SetTransmitReady]). The other errors unwrap to Linux's: EPERM
// for a [Grant] with NoSend, ENXIO for no device, ENETDOWN for one that is down, EMSGSIZE for a frame that is
// longer than the device's MTU and headers (and a VLAN tag, if it has one), EINVAL
// for one without room for a link-layer header, for an address without one, and
// for a header of PACKET_VNET_HDR that does not fit the frame; the socket's
// pending error, see [EventErr]; or what the device's transmit function says.
func (s *Socket) SendTo(frame []byte, to *tpacket.SockaddrLL) (n int, err error) {
	tx := s.tx.Load() // pairs with the store in publishTxLocked
	if tx.ring != nil {
		n, err = s.sendRing(to)
	} else {
		n, err = s.sendFrame(tx, frame, to)
	}
	if err != nil {
		return n, os.NewSyscallError("sendto", err)
	}
	return n, nil
}

// Route returns the device through which SendTo would send: ENXIO if there is none.
func (s *Socket) Route(to *tpacket.SockaddrLL) (*Device, error) {
	d, _, err := s.route(s.tx.Load(), to)
	if err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	return d, nil
}

// Sent returns how many frames the socket has sent.
func (s *Socket) Sent() uint64 { return s.sent.Load() }

// sendFrame sends one frame, in the order of packet_snd (net/packet/af_packet.c): address,
// device, length, header, contents.
func (s *Socket) sendFrame(tx *txOptions, frame []byte, to *tpacket.SockaddrLL) (n int, err error) {
	d, protocol, err := s.route(tx, to)
	if err != nil {
		return 0, err
	}
	var offload vnetHeader
	n = len(frame)
	if tx.vnetLen > 0 {
		if offload, err = cutVnet(frame, tx.vnetLen); err != nil {
			return 0, err
		}
		frame = frame[tx.vnetLen:]
	}
	if tx.noFCS {
		return 0, explain.Errorf(syscall.Errno(eprotonosupport), "SO_NOFCS: device %s adds no checksum that could be left out", d.name)
	}
	if err := d.checkLen(tx, len(frame), offload.segmented()); err != nil {
		return 0, err
	}
	if err := s.sockError(); err != nil {
		return 0, err
	}
	out := outgoings.Get().(*outgoing)
	defer out.put()
	if frame, err = out.addHeader(tx, d, frame, protocol, to); err != nil {
		return 0, err
	}
	if err := d.checkFrame(tx, frame, offload.segmented()); err != nil {
		return 0, err
	}
	if err := out.fill(tx, d, frame, protocol, offload, d.linearLen(len(frame), offload)); err != nil {
		return 0, err
	}
	if err := out.transmit(tx, d, s); err != nil {
		return 0, err
	}
	return n, nil
}

// sockError returns and clears the socket's pending error, as sock_error does.
func (s *Socket) sockError() error {
	if errno := s.err.Swap(0); errno != 0 {
		return explain.Errorf(syscall.Errno(errno), "pending")
	}
	return nil
}

// linearLen returns how much of a frame of n bytes Linux would keep in the first piece
// (packet_alloc_skb): the headers that it knows, of a frame that does not fit into a page.
func (d *Device) linearLen(n int, offload vnetHeader) int {
	const page, room = 4096, 16 // PAGE_SIZE nearly everywhere, LL_RESERVED_SPACE
	head := max(offload.headerLen(), min(n, int(d.maclen)))
	if room+n < page || head == 0 {
		return n
	}
	return head
}

// route returns the device and the protocol, host byte order, of what is sent.
func (s *Socket) route(tx *txOptions, to *tpacket.SockaddrLL) (d *Device, protocol uint16, err error) {
	if tx.closed {
		return nil, 0, ErrClosed
	}
	if tx.grant != nil && tx.grant.NoSend {
		return nil, 0, errNoSend
	}
	switch {
	case to == nil:
		if d = s.boundDevice.Load(); d == nil || !tx.grant.allowsDevice(int32(d.index)) {
			return nil, 0, explain.Errorf(syscall.ENXIO, "the socket is bound to no device: bind it, or give an address")
		}
		protocol = uint16(s.protocol.Load())
	case int(to.Halen) > len(to.Addr):
		return nil, 0, explain.Errorf(syscall.EINVAL, "sll_halen %d: want at most %d", to.Halen, len(to.Addr))
	default:
		var ok bool
		if d, ok = s.ns.DeviceByIndex(int(to.Ifindex)); !ok || !tx.grant.allowsDevice(to.Ifindex) {
			return nil, 0, explain.Errorf(syscall.ENXIO, "sll_ifindex %d: no such device", to.Ifindex)
		}
		protocol = tpacket.Htons(to.Protocol)
	}
	if !d.up.Load() {
		return nil, 0, explain.Errorf(syscall.ENETDOWN, "device %s is down", d.name)
	}
	return d, protocol, nil
}

// headerLen returns how many of the program's bytes are link-layer header: none on a
// SOCK_DGRAM socket.
func (d *Device) headerLen(tx *txOptions) int {
	if tx.dgram {
		return 0
	}
	return int(d.maclen)
}

// checkLen checks the length of what the program sends, before a VLAN tag in it is known.
func (d *Device) checkLen(tx *txOptions, n int, segmented bool) error {
	most := d.MTU() + d.headerLen(tx) + vlanLen
	if segmented {
		if n > maxSent {
			return explain.Errorf(syscall.ENOBUFS, "large segment of %d bytes: want at most %d", n, maxSent)
		}
		return nil
	}
	if n > most {
		return tooLong(n, most)
	}
	return nil
}

// checkFrame checks the length of the whole frame.
func (d *Device) checkFrame(tx *txOptions, frame []byte, segmented bool) error {
	if len(frame) == 0 || !tx.dgram && len(frame) < int(d.maclen) {
		return explain.Errorf(syscall.EINVAL, "frame of %d bytes: want the whole link-layer header, %d bytes, and one byte at least", len(frame), d.maclen)
	}
	n := len(frame)
	if tx.dgram && d.ethernet() {
		n -= etherLen // made here
	}
	if most := d.MTU() + d.headerLen(tx); !segmented && n > most && !d.tagged(frame) {
		return tooLong(n, most)
	}
	return nil
}

// tagged reports whether the frame may be longer by a VLAN tag: Linux allows it for this one
// EtherType.
func (d *Device) tagged(frame []byte) bool {
	return d.ethernet() && binary.BigEndian.Uint16(frame[12:]) == tpacket.ETHP8021Q
}

func tooLong(n, most int) error {
	return explain.Errorf(syscall.EMSGSIZE, "frame of %d bytes: want at most %d", n, most)
}

// outgoing is the state of sending one frame.
type outgoing struct {
	packet Packet
	meta   packetMeta
	split  gso.Split // of a large segment that is divided
	proto  uint16    // of its packets, host byte order
	buf    []byte    // a private copy of the frame
}

var outgoings = sync.Pool{New: func() any { return new(outgoing) }}

// maxKept is the largest buffer that is kept for the next frame: an ordinary
// one's, or a large segment's.
const maxKept = 1 << 17

func (o *outgoing) put() {
	o.packet, o.meta, o.split = Packet{}, packetMeta{}, gso.Split{} // keep no frame's memory alive
	if cap(o.buf) > maxKept {
		o.buf = nil
	}
	outgoings.Put(o)
}

// addHeader puts a link-layer header before the payload of a SOCK_DGRAM socket, as eth_header
// does (net/ethernet/eth.c).
func (o *outgoing) addHeader(tx *txOptions, d *Device, payload []byte, protocol uint16, to *tpacket.SockaddrLL) (frame []byte, err error) {
	switch {
	case !tx.dgram:
		return payload, nil
	case !d.ethernet():
		return payload, d.checkDgram()
	}
	o.buf = append(o.buf[:0], make([]byte, etherLen)...)
	if err := d.header(o.buf, len(payload), protocol, to); err != nil {
		return nil, err
	}
	o.buf = append(o.buf, payload...)
	return o.buf, nil
}

// checkDgram reports whether SOCK_DGRAM sockets may send through a device that is not
// Ethernet.
func (d *Device) checkDgram() error {
	if d.link.makes {
		return explain.Errorf(syscall.EOPNOTSUPP, "device %s: hardware type %d: its link-layer header is not made here: send whole frames on a SOCK_RAW socket", d.name, d.typ)
	}
	return nil
}

// header writes all of the Ethernet header of n bytes of payload into b, which may
// hold that of another frame.
func (d *Device) header(b []byte, n int, protocol uint16, to *tpacket.SockaddrLL) error {
	switch {
	case to != nil:
		copy(b, to.Addr[:6]) // whatever sll_halen says
	case d.typ == Loopback: // as eth_header has it, for IFF_LOOPBACK
		clear(b[:6])
	default:
		return explain.Errorf(syscall.EINVAL, "no address: want the receiver's, for the Ethernet header")
	}
	copy(b[6:], d.addr[:])
	if protocol == tpacket.ETHP8023 || protocol == tpacket.ETHP8022 {
		protocol = uint16(n)
	}
	binary.BigEndian.PutUint16(b[12:], protocol)
	return nil
}

// fill makes the packet that sockets and the device's owner see.
func (o *outgoing) fill(tx *txOptions, d *Device, frame []byte, protocol uint16, offload vnetHeader, headed int) error {
	o.packet = Packet{Data: frame, Outgoing: true, Mark: tx.mark, Priority: tx.priority, Bypass: tx.bypass}
	o.meta, o.split = packetMeta{}, gso.Split{}
	if !tx.dgram && (protocol == 0 || protocol == tpacket.ETHPAll) {
		protocol = d.protocolOf(frame[:min(headed, len(frame))])
	}
	if tx.vnetLen > 0 {
		var err error
		if protocol, err = o.offload(d, offload, protocol, headed); err != nil {
			return err
		}
	}
	if o.split.Divides() {
		o.proto = protocol
		return nil
	}
	o.meta.initOutgoing(d, &o.packet, protocol)
	if tx.dgram && !d.ethernet() {
		o.meta.maclen = 0
	}
	return nil
}

// protocolOf is dev_parse_header_protocol: the EtherType in the frame's first piece, or the IP
// version if the whole IP header is there.
func (d *Device) protocolOf(frame []byte) uint16 {
	switch {
	case d.ethernet():
		return binary.BigEndian.Uint16(frame[12:])
	case !d.bareIP():
		return 0
	case len(frame) >= 20 && frame[0]>>4 == 4:
		return tpacket.ETHPIP
	case len(frame) >= 40 && frame[0]>>4 == 6:
		return tpacket.ETHPIPv6
	}
	return 0
}

// initOutgoing is measure for a packet that a packet socket sends: its protocol may differ
// from the frame's.
func (meta *packetMeta) initOutgoing(d *Device, p *Packet, protocol uint16) {
	meta.length = uint32(len(p.Data))
	meta.capLen = meta.length
	meta.maclen = d.maclen
	meta.protocol = protocol
	meta.from = d.from
	meta.from.Protocol = tpacket.Htons(protocol)
	meta.from.Pkttype = tpacket.PacketOutgoing
	if d.ethernet() {
		copy(meta.from.Addr[:etherAddrLen], p.Data[etherAddrLen:])
		if isVLAN(protocol) {
			meta.extra = extraVLAN
			meta.readTags(p)
		}
	} else {
		meta.from.Halen = 0 // no driver's header_ops finds an address in what a socket sends
	}
	meta.status = tpacket.StatusUser
	meta.measureRare(p)
}
