package rxring

import (
	"encoding/binary"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// vnetHeader is struct virtio_net_hdr (linux/virtio_net.h): flags, gso_type,
// then hdr_len, gso_size, csum_start and csum_offset of 16 bits each,
// little-endian.
type vnetHeader [10]byte

// Sizes that PACKET_VNET_HDR_SZ takes: of struct virtio_net_hdr and of struct
// virtio_net_hdr_mrg_rxbuf, which counts buffers behind it.
const (
	sizeofVnetHeader = len(vnetHeader{})
	sizeofVnetMrg    = 12
)

const (
	vnetNeedsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	vnetDataValid = 2 // VIRTIO_NET_HDR_F_DATA_VALID
)

// SetVnetHeader asks for a struct virtio_net_hdr of n bytes, 10 or 12, in front
// of each packet, 0 for none (PACKET_VNET_HDR_SZ): EINVAL on a SOCK_DGRAM socket,
// EBUSY when there is a ring already. In the 12 bytes of a ring, as in Linux, the
// header's 10 are the last, and the first two are left as they were.
func (s *Socket) SetVnetHeader(n int) error {
	return s.do("set PACKET_VNET_HDR_SZ", func() error {
		if s.typ != SockRaw {
			return explain.Errorf(syscall.EINVAL, "SOCK_DGRAM socket: want a SOCK_RAW one")
		}
		if n != 0 && n != sizeofVnetHeader && n != sizeofVnetMrg {
			return explain.Errorf(syscall.EINVAL, "%d bytes: want 0, %d or %d", n, sizeofVnetHeader, sizeofVnetMrg)
		}
		if s.hasRing() {
			return explain.Errorf(syscall.EBUSY, "%d bytes: the socket has a ring already", n)
		}
		s.vnetLen = uint32(n)
		s.publish()
		return nil
	})
}

// setVnetHdr is SetVnetHeader by its two numbers, with Linux's order of checks.
func (s *Socket) setVnetHdr(size bool, val []byte) error {
	if s.typ != SockRaw {
		return s.SetVnetHeader(0) // which says why not
	}
	if len(val) < 4 {
		return short("set PACKET_VNET_HDR", val, 4)
	}
	n := int(int32(binary.NativeEndian.Uint32(val)))
	if !size && n != 0 {
		n = sizeofVnetHeader
	}
	return s.SetVnetHeader(n)
}

// vnetKnown says whether a virtio_net_hdr has a word for the packet's offloads.
func (g GSO) vnetKnown() bool {
	switch g.Type &^ GSOECN {
	case GSONone, GSOTCPv4, GSOTCPv6, GSOUDPL4:
		return true
	}
	return false // virtio_net_hdr_from_skb: EINVAL
}

// vnet is the offload state of a packet of which at most keep bytes are there, as
// virtio_net_hdr_from_skb says it.
func (p *Packet) vnet(a *arrival, keep uint32) (h vnetHeader) {
	if p.GSO.Type != GSONone {
		linear := a.linear
		if linear == 0 {
			linear = uint32(len(p.Data))
		}
		h[1] = byte(p.GSO.Type)
		binary.LittleEndian.PutUint16(h[2:], uint16(min(linear, keep)))
		binary.LittleEndian.PutUint16(h[4:], p.GSO.Size)
	}
	switch p.Checksum {
	case ChecksumPartial:
		h[0] = vnetNeedsCsum
		binary.LittleEndian.PutUint16(h[6:], p.ChecksumStart)
		binary.LittleEndian.PutUint16(h[8:], p.ChecksumOffset)
	case ChecksumValid:
		h[0] = vnetDataValid
	}
	return h
}
