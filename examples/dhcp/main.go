// Command dhcp has a host get its address from a DHCP server, and find the server's hardware
// address by ARP. Both are devices of this process, on one cable. The libraries are unmodified:
// they exchange packets over package packetconn as over a packet socket of Linux.
//
//	dhcp
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/packetconn"
)

// EtherTypes.
const (
	ipv4     = 0x0800
	arpProto = 0x0806
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	host, router, err := cable(ns)
	if err != nil {
		return err
	}
	stop, err := serve(router)
	if err != nil {
		return err
	}
	defer stop()

	lease, err := request(ctx, host)
	if err != nil {
		return err
	}
	ones, _ := lease.ACK.SubnetMask().Size()
	ip, _ := netip.AddrFromSlice(lease.ACK.YourIPAddr.To4())
	if err := host.SetPrefixes([]netip.Prefix{netip.PrefixFrom(ip, ones)}); err != nil {
		return err
	}
	fmt.Println("host has", host.Prefixes()[0], "for", lease.ACK.IPAddressLeaseTime(0))

	addr, err := resolve(host, routerIP)
	if err != nil {
		return err
	}
	fmt.Println(routerIP, "is at", addr)
	return nil
}

// cable adds two devices: what is sent through one arrives at the other.
func cable(ns *rxring.Namespace) (a, b *rxring.Device, err error) {
	if a, err = ns.AddDevice(rxring.DeviceConfig{Name: "host"}); err != nil {
		return nil, nil, err
	}
	if b, err = ns.AddDevice(rxring.DeviceConfig{Name: "router", Prefixes: []netip.Prefix{netip.PrefixFrom(routerIP, 24)}}); err != nil {
		return nil, nil, err
	}
	arrivesAt := func(d *rxring.Device) rxring.TransmitFunc {
		return func(p *rxring.Packet) error {
			d.Deliver(&rxring.Packet{Data: p.Data})
			return nil
		}
	}
	a.SetTransmit(arrivesAt(b))
	b.SetTransmit(arrivesAt(a))
	return a, b, nil
}

// request gets a lease for the device.
func request(ctx context.Context, d *rxring.Device) (*nclient4.Lease, error) {
	c, err := packetconn.Listen(d, packetconn.Config{Datagram: true, Protocol: ipv4})
	if err != nil {
		return nil, err
	}
	addr := d.HardwareAddr()
	client, err := nclient4.NewWithConn(nclient4.NewBroadcastUDPConn(c, &net.UDPAddr{Port: nclient4.ClientPort}), addr[:])
	if err != nil {
		c.Close()
		return nil, err
	}
	defer client.Close()
	return client.Request(ctx)
}
