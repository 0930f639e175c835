package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

var client, server = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

const port = 7 // echo

// talk connects a stack with the network card near to one with the card far, and has the
// first send a line every 10 ms, which the second sends back, until ctx ends.
func talk(ctx context.Context, near, far stack.LinkEndpoint) error {
	a, err := newStack(near, client)
	if err != nil {
		return err
	}
	b, err := newStack(far, server)
	if err != nil {
		return err
	}
	addr := tcpip.FullAddress{Addr: tcpip.AddrFrom4(server.As4()), Port: port}
	l, err := gonet.ListenTCP(b, addr, ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	go func() {
		if conn, err := l.Accept(); err == nil {
			io.Copy(conn, conn)
		}
	}()
	conn, err := gonet.DialContextTCP(ctx, a, addr, ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	go io.Copy(io.Discard, conn)
	go func() {
		defer conn.Close()
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := fmt.Fprintf(conn, "line %d\n", i); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return nil
}

// newStack returns a stack with one network card and one address.
func newStack(card stack.LinkEndpoint, addr netip.Addr) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	if err := s.CreateNIC(1, card); err != nil {
		return nil, fmt.Errorf("create network card: %v", err)
	}
	network := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(addr.As4()), PrefixLen: 24}
	if err := s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: network}, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("add address %v: %v", addr, err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: network.Subnet(), NIC: 1}})
	return s, nil
}
