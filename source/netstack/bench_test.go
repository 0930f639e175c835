package netstack_test

import (
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/source/netstack"
	"github.com/rxring/rxring/tpacket"
)

// discard is a link endpoint that discards packets, and the dispatcher of one above it.
type discard struct{ stack.LinkEndpoint }

func (discard) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

func (discard) WritePackets(l stack.PacketBufferList) (int, tcpip.Error)              { return l.Len(), nil }
func (discard) Attach(stack.NetworkDispatcher)                                        {}
func (discard) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}
func (discard) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer)    {}

// BenchmarkEndpoint passes a packet of 1500 bytes in each direction through an endpoint: none, one
// that is not read, and one that is.
func BenchmarkEndpoint(b *testing.B) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: 54, Payload: buffer.MakeWithData(make([]byte, 1446))})
	defer pkt.DecRef()
	pkt.TransportHeader().Push(20)
	header.IPv4(pkt.NetworkHeader().Push(20)).Encode(&header.IPv4Fields{TotalLength: 1486, TTL: 64, Protocol: 6})
	header.Ethernet(pkt.LinkHeader().Push(14)).Encode(&header.EthernetFields{SrcAddr: nearMAC, DstAddr: farMAC, Type: header.IPv4ProtocolNumber})
	var list stack.PacketBufferList
	list.PushBack(pkt)

	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(b, ns, rxring.DeviceConfig{Name: "net0"})
	e := netstack.Wrap(discard{}, dev)
	e.Attach(discard{})
	run := func(name string, link stack.LinkEndpoint, dispatcher stack.NetworkDispatcher, drain func()) {
		for _, direction := range []struct {
			name string
			pass func()
		}{
			{"out", func() { link.WritePackets(list) }},
			{"in", func() { dispatcher.DeliverNetworkPacket(header.IPv4ProtocolNumber, pkt) }},
		} {
			b.Run(direction.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for i := range b.N {
					direction.pass()
					if drain != nil && i%256 == 255 {
						b.StopTimer()
						drain()
						b.StartTimer()
					}
				}
			})
		}
	}
	run("bare", discard{}, discard{}, nil)
	run("unwatched", e, e, nil)
	_, rd := rxtest.Open(b, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 20, BlockNr: 1, FrameSize: 2048, FrameNr: 512})
	run("watched", e, e, func() { rxtest.Drain(rd) })
}
