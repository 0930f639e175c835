package netstack_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/source/netstack"
	"github.com/rxring/rxring/tpacket"
)

func TestAddedDeviceIsTheEndpointsCounterpart(t *testing.T) {
	large := channel.New(1, 1400, "")
	large.SupportedGSOKind = stack.HostGSOSupported
	framed := ethernet.New(channel.New(1, 1514, nearMAC))
	framedMTU := int(framed.MTU()) // 1500, or 1514 in newer versions of gVisor
	for _, tt := range []struct {
		name   string
		lower  stack.LinkEndpoint
		c      rxring.DeviceConfig
		typ    rxring.DeviceType
		mtu    int
		maxLen int
		mac    [6]byte // zero: the device's own
	}{
		{"raw IP", channel.New(1, 1420, ""), rxring.DeviceConfig{}, rxring.RawIP, 1420, 1420, [6]byte{}},
		{"Ethernet", framed, rxring.DeviceConfig{}, rxring.Ethernet, framedMTU, framedMTU, [6]byte([]byte(nearMAC))},
		{"with segments", large, rxring.DeviceConfig{}, rxring.RawIP, 1400, int(large.GSOMaxSize()), [6]byte{}},
		{"loopback", loopback.New(), rxring.DeviceConfig{}, rxring.RawIP, 65536, 65536, [6]byte{}},
		{"as configured", channel.New(1, 1420, ""), rxring.DeviceConfig{MTU: 1280, MaxLen: 9000}, rxring.RawIP, 1280, 9000, [6]byte{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			tt.c.Name = "net0"
			e, err := netstack.Add(ns, tt.lower, tt.c)
			rxtest.Must(t, err)
			d := e.Tap()
			if d.Type() != tt.typ || d.MTU() != tt.mtu || d.MaxLen() != tt.maxLen {
				t.Errorf("type %d, MTU %d, MaxLen %d: want %d, %d, %d", d.Type(), d.MTU(), d.MaxLen(), tt.typ, tt.mtu, tt.maxLen)
			}
			if mac := d.HardwareAddr(); mac != tt.mac {
				t.Errorf("hardware address % x, want % x", mac, tt.mac)
			}
			e.Close()
			if _, ok := ns.DeviceByName("net0"); ok {
				t.Error("Close has left the device")
			}
		})
	}

	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	if _, err := netstack.Add(ns, channel.New(1, 20, ""), rxring.DeviceConfig{Name: "net0"}); err == nil || !strings.HasPrefix(err.Error(), "netstack: device net0: MTU 20: want 68 to") {
		t.Errorf("error %v", err)
	}
}

// newTCPStack returns a stack with a card that has large segments, and the link below it.
func newTCPStack(t *testing.T, card stack.LinkEndpoint, addr tcpip.Address) *stack.Stack {
	t.Helper()
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
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

// cable moves what from sends to the other card, until the test ends.
func cable(t *testing.T, from, to *channel.Endpoint) {
	go func() {
		for {
			pkt := from.ReadContext(t.Context())
			if pkt == nil {
				return
			}
			in := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(pkt.ToView())})
			in.RXChecksumValidated = true // the card completes the checksum of its segments
			pkt.DecRef()
			to.InjectInbound(ipv4.ProtocolNumber, in)
			in.DecRef()
		}
	}()
}

func TestTransferOverTCPIsDeliveredWithItsSegments(t *testing.T) {
	links := [2]*channel.Endpoint{channel.New(512, 1500, ""), channel.New(512, 1500, "")}
	for _, l := range links {
		l.SupportedGSOKind = stack.HostGSOSupported
		l.LinkEPCapabilities = stack.CapabilityRXChecksumOffload
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	card, err := netstack.Add(ns, links[0], rxring.DeviceConfig{Name: "net0"})
	rxtest.Must(t, err)
	_, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 20, BlockNr: 64, FrameSize: 1 << 16, FrameNr: 1024})
	a, b := newTCPStack(t, card, near), newTCPStack(t, links[1], far)
	cable(t, links[0], links[1])
	cable(t, links[1], links[0])

	addr := tcpip.FullAddress{Addr: far, Port: 9}
	l, err := gonet.ListenTCP(b, addr, ipv4.ProtocolNumber)
	rxtest.Must(t, err)
	defer l.Close()
	received := make(chan []byte, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			received <- nil
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(conn)
		received <- all
	}()
	conn, err := gonet.DialTCP(a, addr, ipv4.ProtocolNumber)
	rxtest.Must(t, err)
	sent := bytes.Repeat([]byte("a transfer "), 40000)
	rxtest.Must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = conn.Write(sent)
	rxtest.Must(t, err, conn.CloseWrite())
	if got := <-received; !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes were received, of %d", len(got), len(sent))
	}
	io.Copy(io.Discard, conn)
	conn.Close()

	stream, large, fin := make([]byte, len(sent)), 0, 0
	var first uint32
	for {
		f, ok := rd.Next()
		if !ok {
			break
		}
		ip := header.IPv4(f.Data)
		segment := header.TCP(ip.Payload())
		if outgoing := f.From.Pkttype == tpacket.PacketOutgoing; outgoing != (ip.SourceAddress() == near) {
			t.Errorf("outgoing %v, from %v", outgoing, ip.SourceAddress())
		}
		if ip.SourceAddress() == near {
			if segment.Flags()&header.TCPFlagSyn != 0 {
				first = segment.SequenceNumber() + 1
			}
			if segment.Flags()&header.TCPFlagFin != 0 {
				fin++
			}
			copy(stream[min(segment.SequenceNumber()-first, uint32(len(stream))):], segment.Payload())
			if len(f.Data) > 1500 {
				large++
				if f.Status&tpacket.StatusCsumNotReady == 0 {
					t.Errorf("a segment of %d bytes has status %#x: want an incomplete checksum", len(f.Data), f.Status)
				}
			}
		}
		f.Release()
	}
	if !bytes.Equal(stream, sent) || large == 0 || fin == 0 { // a FIN may be sent again
		t.Errorf("the frames hold the stream: %v; %d large segments, %d FINs", bytes.Equal(stream, sent), large, fin)
	}
}

func TestEachPacketOfAListIsDeliveredWhole(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	e := netstack.Wrap(discard{}, dev)
	e.Attach(discard{})
	_, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 20, BlockNr: 1, FrameSize: 1 << 14, FrameNr: 64})
	for _, packets := range []int{1, 2, 40} { // 40 are more than a batch
		var list stack.PacketBufferList
		for n := range packets {
			var payload buffer.Buffer // in up to 16 pieces
			for piece := range 1 + n%16 {
				payload.Append(buffer.NewViewWithData(bytes.Repeat([]byte{byte(n + piece)}, 4097))) // too long for the room behind another
			}
			pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: 14, Payload: payload})
			defer pkt.DecRef()
			header.Ethernet(pkt.LinkHeader().Push(14)).Encode(&header.EthernetFields{SrcAddr: nearMAC, DstAddr: farMAC, Type: header.IPv4ProtocolNumber})
			list.PushBack(pkt)
		}
		if n, err := e.WritePackets(list); n != packets || err != nil {
			t.Errorf("WritePackets returns %d, %v", n, err)
		}
		for _, pkt := range list.AsSlice() {
			f := rxtest.Next(t, rd)
			whole := pkt.ToView().AsSlice()
			if f.Len != len(whole) || !bytes.HasPrefix(whole, f.Data) || f.From.Pkttype != tpacket.PacketOutgoing {
				t.Errorf("a frame of %d bytes, type %d: want %d, outgoing", f.Len, f.From.Pkttype, len(whole))
			}
			f.Release()
		}
	}
	if _, ok := rd.Next(); ok {
		t.Error("one frame too many")
	}
}
