package iface

import (
	"encoding/binary"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// batchSize is how many packets are delivered at once: a socket acquires slots for as many
// together.
const batchSize = 32

// batch is a set of packets in a kernel ring.
type batch struct {
	frames  [batchSize]ring.Frame
	packets [batchSize]rxring.Packet
	rest    [batchSize][1][]byte
	links   [batchSize]rxring.Link // set if linked
	linked  bool                   // the device is not Ethernet

	n     int       // packets
	first uint64    // number of the first packet: how many the drain had read before
	bytes uint64    // of the kernel's ring that earlier weighed batches use, approximately
	read  time.Time // when it was read; set if it may be kept
}

// Of a struct virtio_net_hdr (linux/virtio_net.h): its size, and offsets in it.
const (
	sizeofVnet   = 10
	vnetGSOType  = 1
	vnetHdrLen   = 2
	vnetGSOSize  = 4
	vnetCsumFrom = 6
	vnetCsumAt   = 8
)

const vnetDataValid = 2 // VIRTIO_NET_HDR_F_DATA_VALID

// etherLen is ETH_HLEN, which a packet's first piece must hold.
const etherLen = 14

// load sets packet i from frame i, as tpacket_rcv (net/packet/af_packet.c) wrote it. cut
// reports that the kernel truncated it.
func (b *batch) load(i int) (cut bool) {
	f, p := &b.frames[i], &b.packets[i]
	*p = rxring.Packet{
		Data:      f.Data,
		Len:       f.Len,
		Timestamp: f.UnixNano(),
		Outgoing:  f.From.Pkttype == tpacket.PacketOutgoing,
		Hash:      f.Hash,
	}
	switch {
	case f.Status&tpacket.StatusCsumNotReady != 0:
		p.Checksum = rxring.ChecksumPartial
	case f.Status&tpacket.StatusCsumValid != 0:
		p.Checksum = rxring.ChecksumValid
	}
	if f.Status&tpacket.StatusVLANValid != 0 {
		p.VLAN = rxring.VLAN{TPID: tpacket.ETHP8021Q, TCI: uint16(f.VLANTCI)}
		if f.Status&tpacket.StatusVLANTPID != 0 {
			p.VLAN.TPID = f.VLANTPID
		}
	}
	if b.linked {
		b.links[i] = rxring.Link{
			Protocol:  tpacket.Htons(f.From.Protocol),
			Type:      f.From.Pkttype,
			HeaderLen: uint16(f.Net),
			Addr:      f.From.Addr,
			AddrLen:   f.From.Halen,
		}
		p.Link = &b.links[i]
	}
	if h := f.Headroom(sizeofVnet); h != nil && h[0]|h[vnetGSOType] != 0 {
		b.offload(i, h)
	}
	return f.Len > len(f.Data)
}

// offload reads packet i's virtio_net_hdr, which is in host byte order.
func (b *batch) offload(i int, h []byte) {
	p := &b.packets[i]
	switch {
	case p.Checksum == rxring.ChecksumPartial:
		p.ChecksumStart = binary.NativeEndian.Uint16(h[vnetCsumFrom:])
		p.ChecksumOffset = binary.NativeEndian.Uint16(h[vnetCsumAt:])
	case h[0]&vnetDataValid != 0:
		p.Checksum = rxring.ChecksumValid
	}
	if h[vnetGSOType] == byte(rxring.GSONone) {
		return
	}
	p.GSO = rxring.GSO{
		Type:   rxring.GSOType(h[vnetGSOType]),
		Size:   binary.NativeEndian.Uint16(h[vnetGSOSize:]),
		HdrLen: binary.NativeEndian.Uint16(h[vnetHdrLen:]),
	}
	// Like the kernel, rxring shows the length of the packet's first piece.
	if n := int(p.GSO.HdrLen); n >= etherLen && n < len(p.Data) {
		b.rest[i][0] = p.Data[n:]
		p.Data, p.Rest = p.Data[:n], b.rest[i][:]
	}
}
