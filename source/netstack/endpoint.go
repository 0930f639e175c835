package netstack

import (
	"fmt"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/nested"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rxring/rxring"
)

// Endpoint is a link endpoint whose packets are delivered to a device, too.
// [stack.Stack.CreateNIC] accepts it in place of the endpoint below. Packets are delivered on
// the goroutines that send and receive them, several at once.
type Endpoint struct {
	nested.Endpoint
	lower      stack.LinkEndpoint
	tap        *rxring.Device
	owned      bool                                    // Close removes the tap
	dispatcher atomic.Pointer[stack.NetworkDispatcher] // nil: not attached; nested's is behind a lock
}

var (
	_ stack.LinkEndpoint      = (*Endpoint)(nil)
	_ stack.GSOEndpoint       = (*Endpoint)(nil)
	_ stack.NetworkDispatcher = (*Endpoint)(nil)
)

// Add adds a device to ns and returns lower with its packets delivered to it. What c leaves
// unset is lower's: the type, [rxring.Ethernet] if packets have an Ethernet header
// (gVisor's link/ethernet adds one) and otherwise [rxring.RawIP]; the MTU; the length of the
// longest packet, if lower accepts large segments ([stack.GSOEndpoint]); and the hardware
// address. Close removes the device. On a raw-IP device, an interactive tcpdump has a ring of 8
// slots, unless it is called with -s 1500.
//
// What packet sockets send through the device, lower sends as it does the stack's own packets:
// it must accept packets from several goroutines at once. The stack does not receive such a
// frame, but receives the answer, and resets a TCP connection that it does not know, as
// Linux's does.
func Add(ns *rxring.Namespace, lower stack.LinkEndpoint, c rxring.DeviceConfig) (*Endpoint, error) {
	ethernet := lower.ARPHardwareType() == header.ARPHardwareEther
	if c.Type == 0 && !ethernet {
		c.Type = rxring.RawIP
	}
	if c.MTU == 0 {
		c.MTU = int(lower.MTU())
	}
	if c.MaxLen == 0 {
		c.MaxLen = maxLen(lower, c.MTU)
	}
	if c.HardwareAddr == [6]byte{} && ethernet {
		copy(c.HardwareAddr[:], lower.LinkAddress())
	}
	tap, err := ns.AddDevice(c)
	if err != nil {
		return nil, fmt.Errorf("netstack: %w", err)
	}
	e := Wrap(lower, tap)
	e.owned = true
	return e, nil
}

// Wrap returns lower with its packets delivered to tap, and sets tap's transmit function, as
// Add does for the device that it makes. The type of tap must be the one that Add would choose,
// and its MaxLen must admit lower's segments. Close does not remove tap.
func Wrap(lower stack.LinkEndpoint, tap *rxring.Device) *Endpoint {
	e := &Endpoint{lower: lower, tap: tap}
	e.Init(lower, e)
	tap.SetTransmit(transmitTo(lower))
	return e
}

// maxLen returns the length of the longest packet that the stack writes to lower.
func maxLen(lower stack.LinkEndpoint, mtu int) int {
	if gso, ok := lower.(stack.GSOEndpoint); ok && gso.SupportedGSO() == stack.HostGSOSupported {
		return max(mtu, min(int(gso.GSOMaxSize()), 1<<16-1)) // the length field of IP has 16 bits
	}
	return mtu
}

// Tap returns the device to which packets are delivered.
func (e *Endpoint) Tap() *rxring.Device { return e.tap }

// Attach is called with nil when the stack removes the card.
func (e *Endpoint) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		e.dispatcher.Store(nil)
	} else {
		e.dispatcher.Store(&d) // pairs with the load in DeliverNetworkPacket
	}
	e.Endpoint.Attach(d)
}

// WritePackets delivers the packets before lower sends them: it may change them, and an answer
// can arrive within the call. It is called by many goroutines at once.
func (e *Endpoint) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	if e.tap.HasListeners() {
		e.deliver(pkts.AsSlice(), true)
	}
	return e.lower.WritePackets(pkts)
}

// DeliverNetworkPacket delivers a packet from lower before the stack receives it.
func (e *Endpoint) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	d := e.dispatcher.Load()
	if d == nil {
		return
	}
	if e.tap.HasListeners() {
		e.deliverOne(pkt, false)
	}
	(*d).DeliverNetworkPacket(protocol, pkt)
}

// SetMTU sets the MTU of lower, if it has the method, which older versions of gVisor lack, and
// of the device, which keeps its own if Linux's devices have no such MTU.
func (e *Endpoint) SetMTU(mtu uint32) {
	if lower, ok := e.lower.(interface{ SetMTU(uint32) }); ok {
		lower.SetMTU(mtu)
		e.tap.SetMTU(int(e.lower.MTU()), maxLen(e.lower, int(e.lower.MTU())))
	}
}

// Close ends sending through the device, removes it if Add made it, and closes lower. Stacks
// of newer versions of gVisor call it when they remove the card.
func (e *Endpoint) Close() {
	e.tap.SetTransmit(nil)
	if e.owned {
		e.tap.Namespace().RemoveDevice(e.tap) // an error means that it was removed before
	}
	if lower, ok := e.lower.(interface{ Close() }); ok {
		lower.Close()
	}
}
