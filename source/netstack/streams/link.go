package streams

import (
	"runtime"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/netstack"
)

// link joins two network cards as a cable does. Packets cross it within the
// call that sends them.
type link struct {
	cards [2]card // the first is the device's
	wires [2]wire

	// calls counts the goroutines inside WritePackets and transmit, so that close can wait
	// for them. A frame can be answered within the call that delivers it, which nests these
	// calls, so a lock cannot be used.
	calls  atomic.Int64
	closed atomic.Bool

	programs atomic.Uint64 // frames that programs sent
}

// newLink returns a link between a card with dev's address, whose packets are delivered to
// dev, and another one. Packets longer than dev's MTU are segments, of dev's MaxLen at most.
func newLink(dev *rxring.Device) *link {
	l := new(link)
	addr := dev.HardwareAddr()
	for i := range l.wires {
		l.wires[i] = wire{
			peer:   &l.wires[1-i],
			addr:   tcpip.LinkAddress(addr[:]),
			mtu:    uint32(dev.MTU()),
			maxLen: uint32(min(dev.MaxLen(), MaxLen)),
		}
		addr[5] ^= 1
	}
	l.cards[0].init(l, netstack.Wrap(&l.wires[0], dev))
	l.cards[1].init(l, &l.wires[1])
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

// card is one end of a link: a stack's network card, above the netstack.Endpoint or the wire.
type card struct {
	nested.Endpoint
	link *link

	packets, bytes, gso atomic.Uint64 // sent
}

func (c *card) init(l *link, lower stack.LinkEndpoint) {
	c.link = l
	c.Init(lower, c)
}

// WritePackets is called by many goroutines at once.
func (c *card) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	c.link.calls.Add(1)
	defer c.link.calls.Add(-1)
	if c.link.closed.Load() {
		return list.Len(), nil
	}
	for _, pkt := range list.AsSlice() {
		c.count(pkt)
	}
	return c.Endpoint.WritePackets(list)
}

func (c *card) count(pkt *stack.PacketBuffer) {
	c.packets.Add(1)
	c.bytes.Add(uint64(pkt.Size()))
	if netstack.Segmented(pkt) {
		c.gso.Add(1)
	}
}

// DeliverNetworkPacket delivers a frame to the stack, unless it has another destination
// address.
func (c *card) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	switch dst := header.Ethernet(pkt.LinkHeader().Slice()).DestinationAddress(); dst {
	case header.EthernetBroadcastAddress:
		pkt.PktType = tcpip.PacketBroadcast
	case c.LinkAddress():
		pkt.PktType = tcpip.PacketHost
	default:
		return // a card's address filter
	}
	c.Endpoint.DeliverNetworkPacket(protocol, pkt)
}
