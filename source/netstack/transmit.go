package netstack

import (
	"syscall"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/gso"
)

// transmitTo returns a function for [rxring.Device.SetTransmit] that sends frames by link, the
// endpoint below an Endpoint: the device has received the frame already. A checksum that is
// left to the card is completed. A large segment is EMSGSIZE: a device whose MaxLen is its MTU
// divides it before.
func transmitTo(link stack.LinkEndpoint) rxring.TransmitFunc {
	headerLen := 0
	if link.ARPHardwareType() == header.ARPHardwareEther {
		headerLen = header.EthernetMinimumSize
	}
	return func(p *rxring.Packet) error {
		switch {
		case len(p.Data) <= headerLen:
			return explain.Errorf(syscall.EINVAL, "frame of %d bytes: must be longer than its link-layer header of %d bytes", len(p.Data), headerLen)
		case p.GSO.Type != rxring.GSONone:
			return explain.Errorf(syscall.EMSGSIZE, "segment of %d bytes: the link divides none; give the device a MaxLen of its MTU", len(p.Data))
		}
		pkt := newPacket(p, headerLen)
		defer pkt.DecRef()
		var list stack.PacketBufferList
		list.PushBack(pkt)
		if _, err := link.WritePackets(list); err != nil {
			return explain.Errorf(syscall.ENOBUFS, "write to the link endpoint: %v", err)
		}
		return nil
	}
}

// newPacket returns a copy of p as gVisor's stack hands packets to a link endpoint.
func newPacket(p *rxring.Packet, headerLen int) *stack.PacketBuffer {
	payload := buffer.NewViewWithData(p.Data[headerLen:])
	if p.Checksum == rxring.ChecksumPartial {
		gso.CompleteChecksum(payload.AsSlice(), int(p.ChecksumStart)-headerLen, int(p.ChecksumOffset))
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: headerLen,
		Payload:            buffer.MakeWithView(payload),
	})
	if headerLen > 0 {
		copy(pkt.LinkHeader().Push(headerLen), p.Data)
	}
	pkt.NetworkProtocolNumber = protocolOf(p.Data, headerLen)
	return pkt
}

// protocolOf returns the frame's EtherType; without a header, that of its IP version.
func protocolOf(frame []byte, headerLen int) tcpip.NetworkProtocolNumber {
	switch {
	case headerLen > 0:
		return header.Ethernet(frame).Type()
	case header.IPVersion(frame) == header.IPv6Version:
		return header.IPv6ProtocolNumber
	}
	return header.IPv4ProtocolNumber
}
