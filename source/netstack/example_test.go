package netstack_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/source/netstack"
)

// A stack without a link-layer header, as in a tunnel, and a reader of its packets.
func Example() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	link, err := netstack.Add(ns, channel.New(16, 1500, ""), rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		log.Fatal(err)
	}
	h, err := capture.OpenDevice(link.Tap(), capture.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()

	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{udp.NewProtocol},
	})
	defer s.Destroy()
	s.CreateNIC(1, link) // as before

	local := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4([4]byte{192, 0, 2, 1}), PrefixLen: 24}
	s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: local}, stack.AddressProperties{})
	s.SetRouteTable([]tcpip.Route{{Destination: local.Subnet(), NIC: 1}})
	conn, err := gonet.DialUDP(s, nil, &tcpip.FullAddress{Addr: tcpip.AddrFrom4([4]byte{192, 0, 2, 2}), Port: 53}, ipv4.ProtocolNumber)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("a question")); err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := h.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	ip := header.IPv4(p.Data)
	fmt.Printf("%v to %v: %s\n", ip.SourceAddress(), ip.DestinationAddress(), header.UDP(ip.Payload()).Payload())
	p.Release()
	// Output: 192.0.2.1 to 192.0.2.2: a question
}
