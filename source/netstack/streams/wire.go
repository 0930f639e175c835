package streams

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// MaxLen is the length of the longest segment, in bytes of the IP packet, whose length field
// has 16 bits. A device that is to carry large segments needs it as its
// [rxring.DeviceConfig].MaxLen.
const MaxLen = 1<<16 - 1

// wire is the link endpoint below a card: it moves frames to its peer.
type wire struct {
	peer   *wire
	addr   tcpip.LinkAddress
	mtu    uint32
	maxLen uint32 // no more than the MTU: no segments
	above  atomic.Pointer[stack.NetworkDispatcher]
}

var (
	_ stack.LinkEndpoint = (*wire)(nil)
	_ stack.GSOEndpoint  = (*wire)(nil)
)

func (w *wire) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range list.AsSlice() {
		// The peer's buffer shares the frame's bytes: neither stack writes to them
		// once they are sent. As on a veth, nothing completes the checksum that is left
		// to the card.
		w.peer.receive(pkt.ToBuffer(), pkt.GSOOptions, pkt.Hash)
	}
	return list.Len(), nil
}

// receive hands a frame to what is above the wire.
func (w *wire) receive(frame buffer.Buffer, gso stack.GSO, hash uint32) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: frame})
	defer pkt.DecRef()
	pkt.GSOOptions, pkt.Hash = gso, hash
	if above := w.above.Load(); above != nil && w.ParseHeader(pkt) {
		(*above).DeliverNetworkPacket(header.Ethernet(pkt.LinkHeader().Slice()).Type(), pkt)
	}
}

// AddHeader and ParseHeader are Ethernet's.
func (*wire) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: pkt.EgressRoute.LocalLinkAddress,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

func (*wire) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// Attach is called with nil when the stack removes the card.
func (w *wire) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		w.above.Store(nil)
		return
	}
	w.above.Store(&d)
}

func (*wire) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload
}

func (w *wire) IsAttached() bool                      { return w.above.Load() != nil }
func (w *wire) MTU() uint32                           { return w.mtu }
func (*wire) SetMTU(uint32)                           {} // the device's
func (*wire) MaxHeaderLength() uint16                 { return header.EthernetMinimumSize }
func (w *wire) LinkAddress() tcpip.LinkAddress        { return w.addr }
func (*wire) SetLinkAddress(tcpip.LinkAddress)        {} // the device's
func (*wire) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (*wire) Wait()                                   {}
func (*wire) Close()                                  {}
func (*wire) SetOnCloseAction(func())                 {}

// GSOMaxSize returns the bound from which gVisor derives a segment's payload. The IP packet
// stays below it.
func (w *wire) GSOMaxSize() uint32 { return w.maxLen + 1 }

func (w *wire) SupportedGSO() stack.SupportedGSO {
	if w.maxLen <= w.mtu {
		return stack.GSONotSupported
	}
	return stack.HostGSOSupported
}
