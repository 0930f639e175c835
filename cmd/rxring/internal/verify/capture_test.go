package verify

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/rxring/rxring/source/netstack/streams/payload"
)

// Magic numbers of pcap files.
const (
	pcapMicro = 0xa1b2c3d4
	pcapNano  = 0xa1b23c4d
)

// A capture builds a pcap file. Headers and content of a packet are set independently.
type capture struct {
	bytes.Buffer
	order binary.ByteOrder
	link  uint32
}

func newCapture(order binary.ByteOrder, magic, link uint32) *capture {
	c := &capture{order: order, link: link}
	var header [24]byte
	order.PutUint32(header[0:], magic)
	order.PutUint16(header[4:], 2)
	order.PutUint16(header[6:], 4)
	order.PutUint32(header[16:], 262144)
	order.PutUint32(header[20:], link)
	c.Write(header[:])
	return c
}

// add appends a packet without its last cut bytes, which were not captured.
func (c *capture) add(packet []byte, cut int) {
	var header [16]byte
	c.order.PutUint32(header[8:], uint32(len(packet)-cut))
	c.order.PutUint32(header[12:], uint32(len(packet)))
	c.Write(header[:])
	c.Write(packet[:len(packet)-cut])
}

func ethernetCapture(packets ...[]byte) []byte {
	c := newCapture(binary.LittleEndian, pcapMicro, 1)
	for _, p := range packets {
		c.add(p, 0)
	}
	return c.Bytes()
}

// pcapng returns a minimal pcapng file of one or more interfaces.
type pcapng struct {
	bytes.Buffer
	order binary.ByteOrder
}

func newPcapng(order binary.ByteOrder, links ...uint16) *pcapng {
	c := &pcapng{order: order}
	body := make([]byte, 16)
	order.PutUint32(body[0:], 0x1a2b3c4d)
	order.PutUint16(body[4:], 1)
	order.PutUint64(body[8:], 1<<64-1) // section length: unknown
	c.block(0x0a0d0d0a, body)
	for _, link := range links {
		body := make([]byte, 8)
		order.PutUint16(body, link)
		order.PutUint32(body[4:], 262144)
		c.block(1, body)
	}
	return c
}

func (c *pcapng) block(kind uint32, body []byte) {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	length := make([]byte, 4)
	c.order.PutUint32(length, uint32(len(body)+12))
	head := make([]byte, 4)
	c.order.PutUint32(head, kind)
	for _, b := range [][]byte{head, length, body, length} {
		c.Write(b)
	}
}

func (c *pcapng) add(iface uint32, packet []byte) {
	body := make([]byte, 20, 20+len(packet)+3)
	c.order.PutUint32(body, iface)
	c.order.PutUint32(body[12:], uint32(len(packet)))
	c.order.PutUint32(body[16:], uint32(len(packet)))
	c.block(6, append(body, packet...))
}

// headers of a test packet; the zero value is flow 0's.
type headers struct {
	flow    int
	seq     uint32
	v6      bool
	options []byte // TCP
}

const isn = 0xfffff000 // near the end, so that sequence numbers wrap

// dataAt returns the headers of a segment at an offset of the stream with the flow's
// number.
func dataAt(flow int, offset uint64) headers {
	return headers{flow: flow, seq: isn + uint32(flow) + uint32(offset), options: make([]byte, 12)}
}

// ip returns an IP packet with the payload.
func (h headers) ip(body []byte) []byte {
	tcp := make([]byte, tcpLen, tcpLen+len(h.options)+len(body))
	binary.BigEndian.PutUint16(tcp[0:], uint16(40000+h.flow))
	binary.BigEndian.PutUint16(tcp[2:], 12865)
	binary.BigEndian.PutUint32(tcp[4:], h.seq)
	tcp[12] = byte((tcpLen+len(h.options))/4) << 4
	tcp[13] = 0x18 // PSH, ACK
	tcp = append(append(tcp, h.options...), body...)
	if h.v6 {
		ip := make([]byte, ipv6Len, ipv6Len+len(tcp))
		ip[0] = 6 << 4
		binary.BigEndian.PutUint16(ip[4:], uint16(len(tcp)))
		ip[6], ip[7] = protoTCP, 64
		ip[8], ip[23], ip[24], ip[39] = 0xfd, 1, 0xfd, 2
		return append(ip, tcp...)
	}
	ip := make([]byte, ipv4Len, ipv4Len+len(tcp))
	ip[0] = 4<<4 | ipv4Len/4
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Len+len(tcp)))
	ip[8], ip[9] = 64, protoTCP
	copy(ip[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	setChecksum(ip)
	return append(ip, tcp...)
}

func setChecksum(header []byte) {
	binary.BigEndian.PutUint16(header[10:], 0)
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum))
}

// frame returns an Ethernet frame with the payload.
func (h headers) frame(body []byte) []byte {
	f := make([]byte, ethernetLen)
	copy(f, []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0})
	if h.v6 {
		copy(f[12:], []byte{0x86, 0xdd})
	}
	return append(f, h.ip(body)...)
}

// content returns n bytes of a stream.
func content(stream int, offset uint64, n int) []byte {
	b := make([]byte, n)
	payload.Fill(b, payload.Position{Stream: uint16(stream), Offset: offset})
	return b
}

// segment returns an untorn packet.
func segment(flow int, offset uint64, n int) []byte {
	return dataAt(flow, offset).frame(content(flow, offset, n))
}

// join returns the beginning of a new packet and the end of an older one, as in a
// slot that two writers filled.
func join(at int, first, second []byte) []byte {
	return append(bytes.Clone(first[:at]), second[at:]...)
}

func read(t *testing.T, file []byte) (Report, error) {
	t.Helper()
	return Reader(bytes.NewReader(file))
}
