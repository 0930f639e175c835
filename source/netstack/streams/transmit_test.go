package streams_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/source/netstack/streams"
)

// program is a packet socket that sends to the far stack and hears what is for it.
type program struct {
	t    *testing.T
	s    *rxring.Socket
	dev  *rxring.Device
	peer [6]byte
	rang chan struct{}
}

// Wake implements ring.Waker.
func (p *program) Wake() {
	select {
	case p.rang <- struct{}{}:
	default:
	}
}

// newProgram hears frames of one EtherType whose byte at offset at is value.
func newProgram(t *testing.T, ns *rxring.Namespace, dev *rxring.Device, etherType layers.EthernetType, at uint32, value byte) *program {
	t.Helper()
	s, err := ns.Socket(rxring.SockRaw, 0) // hears nothing until it has its filter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	filter := []cbpf.Instruction{
		{Op: 0x30, K: at},                   // ldb [at]
		{Op: 0x15, Jf: 1, K: uint32(value)}, // jne value
		{Op: 0x06, K: 1 << 18}, {Op: 0x06},
	}
	// Bound to one protocol it does not see what leaves.
	if err := errors.Join(s.AttachFilter(filter), s.BindDevice(dev, uint16(etherType))); err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, s: s, dev: dev, peer: dev.HardwareAddr(), rang: make(chan struct{}, 1)}
	p.peer[5] ^= 1
	return p
}

// asks sends a frame of these layers and returns the first answer that is what one
// looks for.
func (p *program) asks(is func(gopacket.Packet) bool, ls ...gopacket.SerializableLayer) gopacket.Packet {
	p.t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		p.t.Fatal(err)
	}
	if n, err := p.s.Send(b.Bytes()); n != len(b.Bytes()) || err != nil {
		p.t.Fatalf("Send = %d, %v", n, err)
	}
	deadline := time.After(2 * time.Minute) // only for what hangs
	buf := make([]byte, 1<<17)
	for {
		p.s.Arm(p)
		m, err := p.s.Recv(buf, 0)
		if err == nil {
			answer := gopacket.NewPacket(bytes.Clone(buf[:m.Copied]), layers.LayerTypeEthernet, gopacket.Default)
			if is(answer) {
				p.s.Disarm(p)
				return answer
			}
			continue
		}
		select {
		case <-p.rang:
		case <-deadline:
			p.t.Fatalf("no answer: %+v", p.s.Totals())
		}
	}
}

func (p *program) ethernet(t layers.EthernetType) *layers.Ethernet {
	own := p.dev.HardwareAddr()
	return &layers.Ethernet{SrcMAC: own[:], DstMAC: p.peer[:], EthernetType: t}
}

func (p *program) ip(protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: []byte{192, 0, 2, 1}, DstIP: []byte{192, 0, 2, 2}}
}

// TestProgramsGetTrueAnswers: the far stack answers what a packet socket sends, as
// any host does.
func TestProgramsGetTrueAnswers(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0", MaxLen: streams.MaxLen})
	if err != nil {
		t.Fatal(err)
	}
	source, err := streams.Start(dev, streams.Config{Flows: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	sent := uint64(0)

	t.Run("ARP", func(t *testing.T) {
		p := newProgram(t, ns, dev, layers.EthernetTypeARP, 21, 2) // replies
		own := dev.HardwareAddr()
		eth := p.ethernet(layers.EthernetTypeARP)
		eth.DstMAC = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		answer := p.asks(func(gopacket.Packet) bool { return true }, eth, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
			SourceHwAddress: own[:], SourceProtAddress: []byte{192, 0, 2, 1}, DstHwAddress: make([]byte, 6), DstProtAddress: []byte{192, 0, 2, 2},
		})
		arp := answer.Layer(layers.LayerTypeARP).(*layers.ARP)
		if !bytes.Equal(arp.SourceHwAddress, p.peer[:]) || !bytes.Equal(arp.SourceProtAddress, []byte{192, 0, 2, 2}) {
			t.Errorf("%+v", arp)
		}
		sent++
	})
	t.Run("ICMP echo", func(t *testing.T) {
		p := newProgram(t, ns, dev, layers.EthernetTypeIPv4, 23, 1)
		payload := gopacket.Payload("is there anybody")
		answer := p.asks(func(gopacket.Packet) bool { return true }, p.ethernet(layers.EthernetTypeIPv4), p.ip(layers.IPProtocolICMPv4),
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 7, Seq: 9}, payload)
		echo := answer.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if echo.TypeCode.Type() != layers.ICMPv4TypeEchoReply || echo.Id != 7 || echo.Seq != 9 || !bytes.Equal(echo.Payload, payload) {
			t.Errorf("%+v", echo)
		}
		sent++
	})
	t.Run("UDP to a closed port", func(t *testing.T) {
		p := newProgram(t, ns, dev, layers.EthernetTypeIPv4, 23, 1)
		ip := p.ip(layers.IPProtocolUDP)
		udp := &layers.UDP{SrcPort: 4000, DstPort: 4001}
		udp.SetNetworkLayerForChecksum(ip)
		answer := p.asks(func(gopacket.Packet) bool { return true }, p.ethernet(layers.EthernetTypeIPv4), ip, udp, gopacket.Payload("knock"))
		icmp := answer.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if icmp.TypeCode != layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodePort) {
			t.Errorf("%v", icmp.TypeCode)
		}
		sent++
	})
	for _, c := range []struct {
		name string
		port layers.TCPPort
		is   func(*layers.TCP) bool
	}{
		{"TCP to a closed port", 81, func(tcp *layers.TCP) bool { return tcp.RST && tcp.ACK && tcp.Ack == 1001 }},
		{"TCP to the port of the flows", 12865, func(tcp *layers.TCP) bool { return tcp.SYN && tcp.ACK && tcp.Ack == 1001 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProgram(t, ns, dev, layers.EthernetTypeIPv4, 37, byte(0x77)) // low byte of the port to
			ip := p.ip(layers.IPProtocolTCP)
			tcp := &layers.TCP{SrcPort: 0x4077, DstPort: c.port, Seq: 1000, SYN: true, Window: 8192}
			tcp.SetNetworkLayerForChecksum(ip)
			answer := p.asks(func(a gopacket.Packet) bool {
				tcp, ok := a.Layer(layers.LayerTypeTCP).(*layers.TCP)
				return ok && tcp.DstPort == 0x4077
			}, p.ethernet(layers.EthernetTypeIPv4), ip, tcp)
			if got := answer.Layer(layers.LayerTypeTCP).(*layers.TCP); got.SrcPort != c.port || !c.is(got) {
				t.Errorf("%+v", got)
			}
			sent++
		})
	}
	t.Run("TCP connection", func(t *testing.T) {
		// From an address that nobody else has: who has one answers for it.
		mine := []byte{192, 0, 2, 77}
		own := dev.HardwareAddr()
		arps, tcps := newProgram(t, ns, dev, layers.EthernetTypeARP, 41, 77), newProgram(t, ns, dev, layers.EthernetTypeIPv4, 33, 77)
		segment := func(tcp layers.TCP) []gopacket.SerializableLayer {
			ip := tcps.ip(layers.IPProtocolTCP)
			ip.SrcIP = mine
			tcp.SrcPort, tcp.DstPort, tcp.Window = 5000, 12865, 8192
			tcp.SetNetworkLayerForChecksum(ip)
			sent++
			return []gopacket.SerializableLayer{tcps.ethernet(layers.EthernetTypeIPv4), ip, &tcp}
		}
		tcp := func(a gopacket.Packet) *layers.TCP { return a.Layer(layers.LayerTypeTCP).(*layers.TCP) }
		arps.asks(func(gopacket.Packet) bool { return true }, segment(layers.TCP{Seq: 1000, SYN: true})...)
		synAck := tcp(tcps.asks(func(a gopacket.Packet) bool { return tcp(a).SYN }, arps.ethernet(layers.EthernetTypeARP), &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
			SourceHwAddress: own[:], SourceProtAddress: mine, DstHwAddress: arps.peer[:], DstProtAddress: []byte{192, 0, 2, 2},
		}))
		sent++
		data := append(segment(layers.TCP{Seq: 1001, Ack: synAck.Seq + 1, ACK: true, PSH: true}), gopacket.Payload("hello"))
		tcps.asks(func(a gopacket.Packet) bool { return tcp(a).ACK && tcp(a).Ack == 1006 }, data...)
		tcps.asks(func(a gopacket.Packet) bool { return tcp(a).FIN || tcp(a).RST }, segment(layers.TCP{Seq: 1006, Ack: synAck.Seq + 1, ACK: true, FIN: true})...)
	})
	// Malformed packets have no effect.
	p := newProgram(t, ns, dev, layers.EthernetTypeIPv4, 23, 1)
	for _, b := range [][]byte{make([]byte, 14), bytes.Repeat([]byte{0xff}, 1514), append(p.peer[:], make([]byte, 8)...), append(append(p.peer[:], make([]byte, 6)...), 8, 0, 0x45)} {
		if _, err := p.s.Send(b); err != nil {
			t.Error(err)
		}
		sent++
	}
	if got := source.Stats().ProgramFrames; got != sent {
		t.Errorf("%d frames of programs, want %d", got, sent)
	}

	if err := source.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := p.s.Send(make([]byte, 60)); n != 60 || err != nil { // a device without an owner
		t.Errorf("after Close: %d, %v", n, err)
	}
}
