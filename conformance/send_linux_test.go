package conformance

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/tpacket"
)

// The steps of sending.
type (
	// send is sendto. On a socket with a transmit ring the frame is not looked at.
	send struct {
		s     int
		frame value
		addr  value // nil: none
	}
	// fill writes a frame of the transmit ring, if it is mapped, and its status
	// last.
	fill struct {
		s      int
		unit   uint32
		data   value
		header txHeader
	}
)

// txHeader is the header of a frame that is to be sent.
type txHeader struct {
	length   int // tp_len; below 0: all of the data, and so many bytes more
	mac, net uint16
	next     uint32
	status   uint32
}

func (o send) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		var addr []byte
		if o.addr != nil {
			addr = append([]byte{}, o.addr.bytes()...)
		}
		n, err := s.sendto(o.frame.bytes(), addr)
		return outcome{n, err, p.side.wire()}
	})
}

func (o fill) do(p *party) outcome {
	return p.on(o.s, func(s *socketState) outcome {
		if s.ring == nil || s.ring.tx == nil {
			return outcome{}
		}
		m := s.ring.tx
		b := m.unit(o.unit % m.units())
		v, h := m.geo.Version, o.header
		data := o.data.bytes()
		if h.length < 0 {
			h.length = len(data) - 1 - h.length
		}
		at := v.TxOffset()
		if h.mac >= uint16(at) && int(h.mac) < len(b) {
			at = int(h.mac)
		}
		copy(b[at:], data)
		switch v {
		case tpacket.V1:
			*tpacket.Header1At(b) = tpacket.Header1{Len: uint32(h.length), Mac: h.mac, Net: h.net}
		case tpacket.V2:
			*tpacket.Header2At(b) = tpacket.Header2{Len: uint32(h.length), Mac: h.mac, Net: h.net}
		case tpacket.V3:
			*tpacket.Header3At(b) = tpacket.Header3{Len: uint32(h.length), Mac: h.mac, Net: h.net, NextOffset: h.next}
		}
		m.setStatus(o.unit%m.units(), h.status)
		return outcome{}
	})
}

func (o send) String() string {
	addr := "nil"
	if o.addr != nil {
		addr = o.addr.String()
	}
	return fmt.Sprintf("send{%d, %v, %s}", o.s, o.frame, addr)
}

func (o fill) String() string {
	h := o.header
	return fmt.Sprintf("fill{%d, %d, %v, txHeader{%d, %d, %d, %d, %#x}}", o.s, o.unit, o.data, h.length, h.mac, h.net, h.next, h.status)
}

// framed is the bytes of a packet, from its link-layer header on or from behind it,
// and cut to most, with so many zeroes in front.
type framed struct {
	dev    string
	packet packet
	bare   bool
	most   int
	zeroes int
}

func (v framed) bytes() []byte {
	b := v.packet.bytes(v.dev)
	if v.bare {
		b = v.packet.payload()
	}
	return append(make([]byte, v.zeroes), b[:min(len(b), v.most)]...)
}

func (v framed) String() string {
	return fmt.Sprintf("framed{%q, %v, %v, %d, %d}", v.dev, v.packet, v.bare, v.most, v.zeroes)
}

// offloaded is a packet's virtio_net_hdr and its bytes.
type offloaded struct {
	dev    string
	packet packet
}

func (v offloaded) bytes() []byte {
	h := v.packet.vnetHdr(v.dev)
	return append(h[:], v.packet.bytes(v.dev)...)
}

func (v offloaded) String() string { return fmt.Sprintf("offloaded{%q, %v}", v.dev, v.packet) }

// lie gives the rings of a mapping their places in it.
func (m *mapping) lie(mem []byte) {
	m.mem = mem[:m.geo.Size()]
	if m.tx != nil {
		m.tx.mem = mem[m.geo.Size():][:m.tx.geo.Size()]
	}
}

// onWire is a frame as outcomes have it. Of its virtio_net_hdr the length of the
// headers is left out, which is the kernel's own business.
func onWire(dev string, h kring.VnetHdr, frame []byte) []byte {
	b := fmt.Appendf(nil, "%s: %d ", dev, len(frame))
	b = append(append(b, h[:2]...), h[4:]...)
	return append(b, frame...)
}

func rxringHeader(p *rxring.Packet) (h kring.VnetHdr) {
	if p.Checksum == rxring.ChecksumPartial {
		h[0] = needsCsum
		binary.NativeEndian.PutUint16(h[6:], p.ChecksumStart)
		binary.NativeEndian.PutUint16(h[8:], p.ChecksumOffset)
	}
	if p.Checksum == rxring.ChecksumValid {
		h[0] = 2 // VIRTIO_NET_HDR_F_DATA_VALID
	}
	h[1] = byte(p.GSO.Type)
	binary.NativeEndian.PutUint16(h[4:], p.GSO.Size)
	return h
}

func (r *rxringSide) wire() (all []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, r.sent = r.sent, nil
	return all
}

func (s *kernelSocket) sendto(frame, addr []byte) (int, error) {
	s.sentByLo = s.sentByLo || s.tx != nil && s.through(addr) == loIndex
	n, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(s.FD), uintptr(unsafe.Pointer(unsafe.SliceData(frame))), uintptr(len(frame)),
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(len(addr)))
	if errno != 0 {
		return 0, errno
	}
	if n := int(int32(n)); n < 0 { // a tp_len that is no errno
		return 0, unix.Errno(-n)
	}
	return int(n), nil
}

// through is the index of the device that a frame sent to addr goes through.
func (s *kernelSocket) through(addr []byte) int {
	if addr == nil {
		addr, _ = s.getsockname()
	}
	if len(addr) < addrOffset {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(addr[4:]))) // sll_ifindex
}

// overwritesQueued reports whether the step may change a packet that came back in by
// lo and is still in a queue: see differences.
func (o fill) overwritesQueued(kernel *party) bool {
	s := kernel.sockets[o.s]
	if s == nil {
		return false
	}
	k := s.socketSide.(*kernelSocket)
	queued := false
	for _, s := range kernel.sockets {
		if s != nil {
			held, _ := s.socketSide.(*kernelSocket).queue()
			queued = queued || held > 0
		}
	}
	k.sentByLo = k.sentByLo && queued
	return k.sentByLo
}

// fillsQueues is fillsQueues for what the step may send.
func (o send) fillsQueues(kernel *party) bool {
	a := arrive{packet: packet{n: len(o.frame.bytes())}, times: 1}
	if s := kernel.sockets[o.s]; s != nil {
		if tx := s.socketSide.(*kernelSocket).tx; tx != nil {
			a.times = int(tx.geo.FrameNr)
			a.packet.n = int(min(tx.geo.FrameSize, deviceMTU))
		}
	}
	return fillsQueues(a, true, kernel)
}

// isEmpty says whether a packet without a byte may be due in the transmit ring: see
// differences.
func (o send) isEmpty(kernel *party) bool {
	s := kernel.sockets[o.s]
	if s == nil {
		return false
	}
	k := s.socketSide.(*kernelSocket)
	if s.ring == nil || s.ring.tx == nil {
		return k.tx != nil // filled, maybe, and unmapped
	}
	vnet := k.int(unix.PACKET_VNET_HDR_SZ)
	for i := range s.ring.tx.units() {
		h := tpacket.ReadTxHeader(s.ring.tx.geo.Version, s.ring.tx.unit(i))
		if s.ring.tx.status(i) == tpacket.StatusSendRequest && h.Len == vnet {
			return true
		}
	}
	return false
}

func drawFrame(t *rapid.T) framed {
	dev := rapid.SampledFrom([]string{tap0, tap0, tun0, lo}).Draw(t, "device")
	p := drawPacket(t, dev)
	p.load = offload{}
	v := framed{dev, p, rapid.IntRange(0, 2).Draw(t, "bare") == 2, 1 << 16, 0}
	switch rapid.IntRange(0, 7).Draw(t, "fault") {
	case 4:
		v.packet.n = deviceMTU + rapid.SampledFrom([]int{0, 1, 3, 4, 5, 100}).Draw(t, "too long")
	case 5:
		v.most = rapid.IntRange(0, 20).Draw(t, "short")
	case 6, 7:
		v.zeroes = rapid.SampledFrom([]int{10, 10, 12, 9}).Draw(t, "vnet header")
	}
	return v
}

// addresses are those to send to.
var addresses = rapid.Custom(func(t *rapid.T) value {
	index := rapid.SampledFrom([]int{tapIndex, tapIndex, tapIndex, tunIndex, loIndex, 0, 99, -1}).Draw(t, "index")
	a := tpacket.SockaddrLL{
		Family:   uint16(rapid.SampledFrom([]int{unix.AF_PACKET, unix.AF_PACKET, 0, unix.AF_INET}).Draw(t, "family")),
		Protocol: tpacket.Htons(rapid.SampledFrom([]uint16{unix.ETH_P_ALL, 0, unix.ETH_P_IP, unix.ETH_P_8021Q, 0x88b5, unix.ETH_P_802_3, unix.ETH_P_802_2}).Draw(t, "protocol")),
		Ifindex:  int32(index),
		Halen:    rapid.SampledFrom([]uint8{6, 6, 0, 8, 9, 255}).Draw(t, "halen"),
		Addr:     [8]uint8{2, 0, 0, 0, 0, 9},
	}
	if index == tunIndex && a.Protocol == tpacket.Htons(unix.ETH_P_8021Q) {
		a.Protocol = 0 // Linux searches for a tag where there is no frame
	}
	b := tpacket.Bytes(&a)
	switch rapid.IntRange(0, 9).Draw(t, "length") {
	case 8:
		b = b[:rapid.IntRange(1, 19).Draw(t, "short")]
	case 9:
		b = append(b[:len(b):len(b)], make([]byte, rapid.IntRange(1, 100).Draw(t, "long"))...)
	}
	return raw(b)
})

func drawSend(t *rapid.T, s int) op {
	o := send{s, drawFrame(t), nil}
	if rapid.Bool().Draw(t, "to somebody") {
		o.addr = addresses.Draw(t, "address")
	}
	return o
}

// drawTxRing is a transmit ring that the kernel takes, if nothing is in the way.
func drawTxRing(t *rapid.T) (sc script) {
	s := drawSocket(t)
	if rapid.IntRange(0, 2).Draw(t, "loss") == 2 {
		sc = append(sc, set{s, unix.SOL_PACKET, unix.PACKET_LOSS, i32(1)})
	}
	if rapid.IntRange(0, 2).Draw(t, "offsets") == 2 {
		sc = append(sc, set{s, unix.SOL_PACKET, unix.PACKET_TX_HAS_OFF, i32(1)})
	}
	r := drawRing(t)
	r.blockNr = min(r.blockNr, 2)
	return append(sc, munmap{s}, set{s, unix.SOL_PACKET, unix.PACKET_TX_RING, req3{ring: r.full()}}, mmap{s})
}

// drawFills fills frames of a transmit ring, and has them sent.
func drawFills(t *rapid.T) (sc script) {
	s := drawSocket(t)
	for range rapid.IntRange(1, 4).Draw(t, "frames") {
		o := fill{s, rapid.Uint32Range(0, 4).Draw(t, "frame"), drawFrame(t), txHeader{length: -1, status: tpacket.StatusSendRequest}}
		switch rapid.IntRange(0, 9).Draw(t, "header") {
		case 5:
			o.header.length = rapid.SampledFrom([]int{0, 13, 14, 60, 2000, 1 << 30, 1<<32 - 1}).Draw(t, "length")
		case 6:
			o.header.status = rapid.SampledFrom([]uint32{0, 2, 3, 4, 1<<31 | 1}).Draw(t, "status")
		case 7, 8:
			o.header.mac = rapid.SampledFrom([]uint16{0, 31, 32, 33, 48, 60, 100, 1000, 65535}).Draw(t, "mac")
			o.header.net = o.header.mac
		case 9:
			o.header.next = rapid.Uint32Range(0, 1).Draw(t, "next")
		}
		sc = append(sc, o)
	}
	o := drawSend(t, s).(send)
	if rapid.IntRange(0, 3).Draw(t, "address") > 0 {
		o.addr = nil
	}
	return append(sc, o)
}
