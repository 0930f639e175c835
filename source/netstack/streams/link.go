package streams

import (
	"runtime"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rxring/rxring/source/netstack"
)

// MaxLen is the length of the longest segment, in bytes of the IP packet, whose length field
// has 16 bits. A device that is to carry large segments needs it as its
// [rxring.DeviceConfig].MaxLen.
const MaxLen = 1<<16 - 1

// link joins two network cards as a cable does. Packets cross it within the
// call that sends them.
type link struct {
	dev   netstack.Deliverer
	cards [2]card

	// calls counts the goroutines inside WritePackets and transmit, so that close can wait
	// for them. A frame can be answered within the call that delivers it, which nests these
	// calls, so a lock cannot be used.
	calls  atomic.Int64
	closed atomic.Bool

	programs atomic.Uint64 // frames that programs sent
}

// newLink returns a link whose first card is the device's. Packets longer than the MTU
// are segments, of at most maxLen bytes.
func newLink(dev netstack.Deliverer, addrs [2]tcpip.LinkAddress, mtu, maxLen int) *link {
	l := &link{dev: dev}
	for i := range l.cards {
		l.cards[i] = card{link: l, peer: &l.cards[1-i], outgoing: i == 0, addr: addrs[i], mtu: uint32(mtu), maxLen: uint32(min(maxLen, MaxLen))}
	}
	return l
}

// close makes the link drop all further frames. When it returns, none is being delivered any
// more, neither to the device nor to a stack.
func (l *link) close() {
	l.closed.Store(true) // pairs with calls.Add before closed.Load in WritePackets
	for l.calls.Load() != 0 {
		runtime.Gosched()
	}
}

// card is one end of a link: a stack's network card.
type card struct {
	link     *link
	peer     *card
	outgoing bool // the device's own card: what it sends is outgoing
	addr     tcpip.LinkAddress
	mtu      uint32
	maxLen   uint32 // no more than the MTU: no segments
	stack    atomic.Pointer[stack.NetworkDispatcher]

	packets, bytes, gso atomic.Uint64 // sent
}

var (
	_ stack.LinkEndpoint = (*card)(nil)
	_ stack.GSOEndpoint  = (*card)(nil)
)

// WritePackets delivers each packet to the device and to the peer's stack. It is called by many
// goroutines at once.
func (c *card) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	c.link.calls.Add(1)
	defer c.link.calls.Add(-1)
	for _, pkt := range list.AsSlice() {
		if c.link.closed.Load() {
			break
		}
		c.count(pkt)
		// As it is sent also on the way in: as on a veth, nothing completes the checksum
		// that is left to the card.
		netstack.Deliver(c.link.dev, pkt, c.outgoing)
		// The peer's buffer shares the frame's bytes: neither stack writes to them
		// once they are sent.
		c.peer.receive(pkt.ToBuffer())
	}
	return list.Len(), nil
}

func (c *card) count(pkt *stack.PacketBuffer) {
	c.packets.Add(1)
	c.bytes.Add(uint64(pkt.Size()))
	if netstack.Segmented(pkt) {
		c.gso.Add(1)
	}
}

// receive delivers a frame to c's stack, unless it has another destination address.
func (c *card) receive(frame buffer.Buffer) {
	dispatcher := c.stack.Load()
	if dispatcher == nil {
		frame.Release()
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: frame})
	defer pkt.DecRef()
	if !c.ParseHeader(pkt) {
		return
	}
	eth := header.Ethernet(pkt.LinkHeader().Slice())
	switch dst := eth.DestinationAddress(); {
	case dst == header.EthernetBroadcastAddress:
		pkt.PktType = tcpip.PacketBroadcast
	case dst == c.addr:
		pkt.PktType = tcpip.PacketHost
	default:
		return // not ours: a card's address filter
	}
	(*dispatcher).DeliverNetworkPacket(eth.Type(), pkt)
}

// AddHeader and ParseHeader are Ethernet's.
func (*card) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: pkt.EgressRoute.LocalLinkAddress,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

func (*card) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// Attach is called with nil when the stack removes the card.
func (c *card) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		c.stack.Store(nil)
		return
	}
	c.stack.Store(&d)
}

func (c *card) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload
}

func (c *card) IsAttached() bool                      { return c.stack.Load() != nil }
func (c *card) MTU() uint32                           { return c.mtu }
func (*card) SetMTU(uint32)                           {} // the device's
func (*card) MaxHeaderLength() uint16                 { return header.EthernetMinimumSize }
func (c *card) LinkAddress() tcpip.LinkAddress        { return c.addr }
func (*card) SetLinkAddress(tcpip.LinkAddress)        {} // the device's
func (*card) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (*card) Wait()                                   {}
func (*card) Close()                                  {}
func (*card) SetOnCloseAction(func())                 {}

// GSOMaxSize returns the bound from which gVisor derives a segment's payload. The IP packet
// stays below it.
func (c *card) GSOMaxSize() uint32 { return c.maxLen + 1 }

func (c *card) SupportedGSO() stack.SupportedGSO {
	if c.maxLen <= c.mtu {
		return stack.GSONotSupported
	}
	return stack.HostGSOSupported
}
