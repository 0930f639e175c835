package netstack_test

import (
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/sniffer"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
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

// newBenchPacket returns a packet of 1500 bytes with an Ethernet header, whose headers and
// payload are in a piece each.
func newBenchPacket() *stack.PacketBuffer {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: 54, Payload: buffer.MakeWithData(make([]byte, 1446))})
	pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
	pkt.TransportHeader().Push(20)
	header.IPv4(pkt.NetworkHeader().Push(20)).Encode(&header.IPv4Fields{TotalLength: 1486, TTL: 64, Protocol: 6})
	header.Ethernet(pkt.LinkHeader().Push(14)).Encode(&header.EthernetFields{SrcAddr: nearMAC, DstAddr: farMAC, Type: header.IPv4ProtocolNumber})
	return pkt
}

// BenchmarkEndpoint passes a packet in each direction through an endpoint. What the endpoint adds
// is to be compared with bare, which is none, and with deliver, which is Device.Deliver of the
// same bytes into the same ring. sniffer is gVisor's endpoint of that purpose, which writes into
// memory here.
func BenchmarkEndpoint(b *testing.B) {
	pkt := newBenchPacket()
	defer pkt.DecRef()
	var list stack.PacketBufferList
	list.PushBack(pkt)

	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(b, ns, rxring.DeviceConfig{Name: "net0"})
	e := netstack.Wrap(discard{}, dev)
	e.Attach(discard{})
	calls := func(name string, link stack.LinkEndpoint, dispatcher stack.NetworkDispatcher, rd *ring.Reader) {
		b.Run("out/"+name, func(b *testing.B) { run(b, rd, func() { link.WritePackets(list) }) })
		b.Run("in/"+name, func(b *testing.B) {
			run(b, rd, func() { dispatcher.DeliverNetworkPacket(header.IPv4ProtocolNumber, pkt) })
		})
	}
	calls("bare", discard{}, discard{}, nil)
	calls("unwatched", e, e, nil)
	_, rd := rxtest.Open(b, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 20, BlockNr: 1, FrameSize: 2048, FrameNr: 512})
	calls("watched", e, e, rd)
	pieces := pkt.AsSlices()
	b.Run("deliver", func(b *testing.B) {
		ready := rxring.Packet{Data: pieces[0], Rest: pieces[1:], Outgoing: true}
		run(b, rd, func() { dev.Deliver(&ready) })
	})
	sniffer.LogPackets.Store(0) // it logs what it writes otherwise
	s, err := sniffer.NewWithWriter(discard{}, new(overwriter), 1<<18)
	rxtest.Must(b, err)
	b.Run("out/sniffer", func(b *testing.B) { run(b, nil, func() { s.WritePackets(list) }) })
}

// overwriter is a Writer into memory.
type overwriter struct{ b [2048]byte }

func (o *overwriter) Write(b []byte) (int, error) { return copy(o.b[:], b), nil }

// run calls pass, which moves a packet. A ring is drained off the clock: without StopTimer, which
// stops the world.
func run(b *testing.B, rd *ring.Reader, pass func()) {
	b.ReportAllocs()
	var drained time.Duration
	for i := range b.N {
		pass()
		if rd != nil && i%256 == 255 {
			begin := time.Now()
			rxtest.Drain(rd)
			drained += time.Since(begin)
		}
	}
	b.ReportMetric(float64(b.Elapsed()-drained)/float64(b.N), "ns/op")
}
