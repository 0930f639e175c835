package netstack_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/link/pipe"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/netstack"
	"github.com/rxring/rxring/tpacket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const nic = 1

var (
	near, far       = tcpip.AddrFrom4([4]byte{192, 0, 2, 1}), tcpip.AddrFrom4([4]byte{192, 0, 2, 2})
	nearMAC, farMAC = tcpip.LinkAddress("\x02\x00\x00\x00\x00\x10"), tcpip.LinkAddress("\x02\x00\x00\x00\x00\x11")
)

// newStack returns a stack that answers ARP requests and pings.
func newStack(t *testing.T, card stack.LinkEndpoint, addr tcpip.Address) *stack.Stack {
	t.Helper()
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{icmp.NewProtocol4},
	})
	t.Cleanup(s.Destroy)
	if err := s.CreateNIC(nic, card); err != nil {
		t.Fatal(err)
	}
	network := tcpip.AddressWithPrefix{Address: addr, PrefixLen: 24}
	if err := s.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: network}, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: network.Subnet(), NIC: nic}})
	return s
}

func newDevice(t *testing.T, typ rxring.DeviceType) (*rxring.Namespace, *rxring.Device) {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0", Type: typ, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}})
	if err != nil {
		t.Fatal(err)
	}
	return ns, dev
}

// newSocket returns a packet socket that receives everything.
func newSocket(t *testing.T, ns *rxring.Namespace, dev *rxring.Device) *rxring.Socket {
	t.Helper()
	s, err := ns.Socket(rxring.SockRaw, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.BindDevice(dev, 3); err != nil { // ETH_P_ALL
		t.Fatal(err)
	}
	return s
}

// received returns the next n frames that a socket receives, each as its direction and its
// type; fewer if they do not arrive.
func received(s *rxring.Socket, n int) (frames []string) {
	b := make([]byte, 2048)
	for deadline := time.Now().Add(10 * time.Second); len(frames) < n && time.Now().Before(deadline); {
		m, err := s.Recv(b, 0)
		if err != nil { // EAGAIN
			time.Sleep(time.Millisecond)
			continue
		}
		direction := "in"
		if m.From.Pkttype == tpacket.PacketOutgoing {
			direction = "out"
		}
		kind := "ARP"
		if eth := header.Ethernet(b); eth.Type() == ipv4.ProtocolNumber {
			kind = fmt.Sprint("ICMP ", header.ICMPv4(header.IPv4(b[header.EthernetMinimumSize:m.Copied]).Payload()).Type())
		}
		frames = append(frames, direction+" "+kind)
	}
	return frames
}

// echo returns an Ethernet frame from the near to the far stack that it answers.
func echo(text string) []byte {
	b := make([]byte, header.EthernetMinimumSize+header.IPv4MinimumSize+header.ICMPv4MinimumSize, 128)
	header.Ethernet(b).Encode(&header.EthernetFields{SrcAddr: nearMAC, DstAddr: farMAC, Type: ipv4.ProtocolNumber})
	b = append(b, text...)
	ip := header.IPv4(b[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(ip)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber), SrcAddr: near, DstAddr: far})
	ip.SetChecksum(^ip.CalculateChecksum())
	ping := header.ICMPv4(ip.Payload())
	ping.SetType(header.ICMPv4Echo)
	ping.SetChecksum(^checksum.Checksum(ping, 0))
	return b
}

func TestDeviceReceivesBothDirectionsOnce(t *testing.T) {
	ns, dev := newDevice(t, rxring.Ethernet)
	a, b := pipe.New(nearMAC, farMAC, 1514)
	link := ethernet.New(a)
	s := newStack(t, netstack.Wrap(link, dev), near)
	newStack(t, ethernet.New(b), far)
	reader, program := newSocket(t, ns, dev), newSocket(t, ns, dev)

	// The far stack asks for the near stack's address, and answers: to both, as on a wire.
	if _, err := program.Send(echo("hello")); err != nil {
		t.Fatal(err)
	}
	want := []string{"out ICMP 8", "in ARP", "out ARP", "in ICMP 0"}
	if got := received(reader, len(want)); !slices.Equal(got, want) {
		t.Errorf("a reader receives %q, want %q", got, want)
	}
	if got := received(program, len(want)-1); !slices.Equal(got, want[1:]) { // not what it sends
		t.Errorf("the sender receives %q, want %q", got, want[1:])
	}

	if err := s.RemoveNIC(nic); err != nil {
		t.Fatal(err)
	}
	if _, err := program.Send(echo("hello")); err != nil {
		t.Fatal(err)
	}
	if n, err := program.Recv(make([]byte, 2048), 0); err == nil {
		t.Errorf("delivered without a card: %+v", n)
	}
}

func TestPacketIsDeliveredWithItsOffloadState(t *testing.T) {
	tests := []struct {
		name    string
		gso     stack.GSO
		payload int
		want    rxring.Packet // without its bytes
		large   bool
	}{
		{name: "complete", payload: 100},
		{
			"checksum left to the card", stack.GSO{Type: stack.GSOTCPv4, NeedsCsum: true, CsumOffset: 16, MSS: 1000, L3HdrLen: 20}, 1000,
			rxring.Packet{Checksum: rxring.ChecksumPartial, ChecksumStart: 34, ChecksumOffset: 16}, false,
		}, {
			"segment of TCP over IPv4", stack.GSO{Type: stack.GSOTCPv4, NeedsCsum: true, CsumOffset: 16, MSS: 1000, L3HdrLen: 20}, 1001,
			rxring.Packet{Checksum: rxring.ChecksumPartial, ChecksumStart: 34, ChecksumOffset: 16, GSO: rxring.GSO{Type: rxring.GSOTCPv4, Size: 1000, HdrLen: 54}}, true,
		}, {
			"segment of TCP over IPv6", stack.GSO{Type: stack.GSOTCPv6, NeedsCsum: true, CsumOffset: 16, MSS: 1000, L3HdrLen: 40}, 5000,
			rxring.Packet{Checksum: rxring.ChecksumPartial, ChecksumStart: 54, ChecksumOffset: 16, GSO: rxring.GSO{Type: rxring.GSOTCPv6, Size: 1000, HdrLen: 74}}, true,
		}, {
			name: "segment that gVisor divides", gso: stack.GSO{Type: stack.GSOGvisor, MSS: 1000}, payload: 1000,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := bytes.Repeat([]byte{7}, tt.payload)
			pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: 128, Payload: buffer.MakeWithData(body)})
			defer pkt.DecRef()
			pkt.GSOOptions, pkt.Hash = tt.gso, 99
			header.TCP(pkt.TransportHeader().Push(20)).Encode(&header.TCPFields{DataOffset: 20})
			pkt.NetworkHeader().Push(max(20, int(tt.gso.L3HdrLen)))
			pkt.LinkHeader().Push(header.EthernetMinimumSize)
			frame := pkt.ToView().AsSlice()

			check := func(pkt *stack.PacketBuffer, outgoing bool) {
				t.Helper()
				got := netstack.Packet(pkt, outgoing)
				if whole := bytes.Join(append([][]byte{got.Data}, got.Rest...), nil); !bytes.Equal(whole, frame) {
					t.Errorf("%d bytes are delivered, not the frame's %d", len(whole), len(frame))
				}
				if got.Outgoing != outgoing || got.Hash != 99 {
					t.Errorf("outgoing %v, hash %d", got.Outgoing, got.Hash)
				}
				if got.Checksum != tt.want.Checksum || got.ChecksumStart != tt.want.ChecksumStart || got.ChecksumOffset != tt.want.ChecksumOffset || got.GSO != tt.want.GSO {
					t.Errorf("delivered %+v, want %+v", got, tt.want)
				}
			}
			check(pkt, true)
			// On a link between two stacks, it arrives as it was sent.
			in := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: pkt.ToBuffer()})
			defer in.DecRef()
			in.GSOOptions, in.Hash = tt.gso, 99
			in.LinkHeader().Consume(header.EthernetMinimumSize)
			check(in, false)
			if got := netstack.Segmented(pkt); got != tt.large {
				t.Errorf("Segmented reports %v", got)
			}
		})
	}
}

func TestFrameIsTransmittedAsTheStackWouldSendIt(t *testing.T) {
	link := channel.New(1, 1500, "") // packets without a link-layer header
	transmit := netstack.TransmitTo(link)
	frame := echo("hello")[header.EthernetMinimumSize:]
	whole := bytes.Clone(frame)
	ping := header.ICMPv4(header.IPv4(frame).Payload())
	ping.SetChecksum(0) // ICMP has no pseudo-header
	if err := transmit(&rxring.Packet{Data: frame, Checksum: rxring.ChecksumPartial, ChecksumStart: 20, ChecksumOffset: 2}); err != nil {
		t.Fatal(err)
	}
	pkt := link.Read()
	defer pkt.DecRef()
	clear(frame) // its owner's again
	if got := pkt.ToView().AsSlice(); !bytes.Equal(got, whole) || pkt.NetworkProtocolNumber != ipv4.ProtocolNumber {
		t.Errorf("protocol %#x\n%x, want\n%x", pkt.NetworkProtocolNumber, got, whole)
	}
}

func TestFrameIsRefusedWithAnErrno(t *testing.T) {
	link := channel.New(1, 1500, "")
	defer link.Drain()
	for _, tt := range []struct {
		name   string
		link   stack.LinkEndpoint
		packet rxring.Packet
		want   error
	}{
		{"nothing", link, rxring.Packet{}, syscall.EINVAL},
		{"an Ethernet header alone", ethernet.New(link), rxring.Packet{Data: make([]byte, 14)}, syscall.EINVAL},
		{"a large segment", link, rxring.Packet{Data: make([]byte, 4000), GSO: rxring.GSO{Type: rxring.GSOTCPv4}}, syscall.EMSGSIZE},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := netstack.TransmitTo(tt.link)(&tt.packet); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	if link.NumQueued() != 0 {
		t.Error("a refused frame was sent")
	}
}
