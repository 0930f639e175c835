package main

import (
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/mdlayher/arp"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/packetconn"
)

// loopback is the index of Linux's loopback interface.
const loopback = 1

// The addresses of the router, and of the one host that it leases an address to.
var (
	routerIP = netip.MustParseAddr("192.0.2.1")
	hostIP   = netip.MustParseAddr("192.0.2.50")
)

// serve answers DHCP and ARP requests that arrive at d, until stop.
func serve(d *rxring.Device) (stop func(), err error) {
	raw, err := packetconn.Listen(d, packetconn.Config{Datagram: true, Protocol: ipv4})
	if err != nil {
		return nil, err
	}
	udp := nclient4.NewBroadcastUDPConn(raw, &net.UDPAddr{Port: dhcpv4.ServerPort})
	dhcp, err := server4.NewServer("", nil, offer, server4.WithConn(udp))
	if err != nil {
		raw.Close()
		return nil, err
	}
	c, err := newARPClient(d)
	if err != nil {
		dhcp.Close()
		return nil, err
	}
	go dhcp.Serve()
	go answer(c, d)
	return func() {
		dhcp.Close()
		c.Close()
	}, nil
}

// offer answers a DHCP request.
func offer(conn net.PacketConn, peer net.Addr, request *dhcpv4.DHCPv4) {
	kind := dhcpv4.MessageTypeOffer
	if request.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
	}
	reply, err := dhcpv4.NewReplyFromRequest(request,
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithYourIP(hostIP.AsSlice()),
		dhcpv4.WithServerIP(routerIP.AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(routerIP.AsSlice())),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithLeaseTime(uint32(time.Hour/time.Second)))
	if err == nil {
		_, err = conn.WriteTo(reply.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort})
	}
	if err != nil {
		log.Print("dhcp: ", err)
	}
}

// answer answers who asks for the router's address, until c is closed.
func answer(c *arp.Client, d *rxring.Device) {
	hw := d.HardwareAddr()
	for {
		request, _, err := c.Read()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && request.Operation == arp.OperationRequest && request.TargetIP == routerIP {
			err = c.Reply(request, hw[:], routerIP)
		}
		if err != nil {
			log.Print("arp: ", err)
		}
	}
}

// resolve returns the hardware address of a neighbour of d.
func resolve(d *rxring.Device, ip netip.Addr) (net.HardwareAddr, error) {
	c, err := newARPClient(d)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	own := d.HardwareAddr()
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	request, err := arp.NewPacket(arp.OperationRequest, own[:], d.Prefixes()[0].Addr(), broadcast, ip)
	if err != nil {
		return nil, err
	}
	if err := c.WriteTo(request, broadcast); err != nil {
		return nil, err
	}
	for {
		reply, _, err := c.Read()
		if err != nil {
			return nil, fmt.Errorf("no answer from %v: %w", ip, err)
		}
		if reply.Operation == arp.OperationReply && reply.SenderIP == ip {
			return reply.SenderHardwareAddr, nil
		}
	}
}

// newARPClient returns a client on d. It looks up an address of its interface in the system,
// where d does not exist, for requests that do not name one: the loopback interface has one.
func newARPClient(d *rxring.Device) (*arp.Client, error) {
	c, err := packetconn.Listen(d, packetconn.Config{Protocol: arpProto})
	if err != nil {
		return nil, err
	}
	hw := d.HardwareAddr()
	client, err := arp.New(&net.Interface{Index: loopback, Name: d.Name(), MTU: d.MTU(), HardwareAddr: hw[:]}, c)
	if err != nil {
		c.Close()
		return nil, err
	}
	return client, nil
}
