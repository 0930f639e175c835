package netstack

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rxring/rxring"
)

// New returns a link endpoint that sends and receives by link, and delivers what it sends and
// receives to dev. [stack.Stack.CreateNIC] accepts it in place of link; nothing is delivered
// before that, nor once the stack has removed the card.
//
// The type of the device must be that of the link: [rxring.Ethernet] if packets have an
// Ethernet header (gVisor's link/ethernet adds one), or else [rxring.RawIP]. A link that
// accepts large segments ([stack.GSOEndpoint]) needs a device whose MaxLen admits them.
// Packets are delivered on the goroutines that send and receive them, several at once.
func New(link stack.LinkEndpoint, dev *rxring.Device) stack.LinkEndpoint {
	e := &endpoint{dev: dev}
	e.Init(link, e)
	return e
}

// endpoint is the card's link endpoint, and the dispatcher of the link below it.
type endpoint struct {
	nested.Endpoint
	dev *rxring.Device
}

var (
	_ stack.LinkEndpoint      = (*endpoint)(nil)
	_ stack.GSOEndpoint       = (*endpoint)(nil)
	_ stack.NetworkDispatcher = (*endpoint)(nil)
)

// WritePackets is called by many goroutines at once. Packets are delivered first: the link may
// change them, and the answer can arrive within the call.
func (e *endpoint) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		Deliver(e.dev, pkt, true)
	}
	return e.Endpoint.WritePackets(pkts)
}

// DeliverNetworkPacket receives an incoming packet from the link.
func (e *endpoint) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	if e.IsAttached() {
		Deliver(e.dev, pkt, false)
	}
	e.Endpoint.DeliverNetworkPacket(protocol, pkt)
}
