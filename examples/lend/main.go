// Command lend offers the packets of a tunnel to other processes at a unix socket.
// Packets that they send are answered if they are pings.
//
//	lend wg0.sock
//	rxring run --at wg0.sock -- tcpdump -i wg0 -n    # in another terminal
package main

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/examples/internal/traffic"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: lend SOCKET")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := lend(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func lend(ctx context.Context, path string) error {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, err := ns.AddDevice(rxring.DeviceConfig{
		Name: "wg0", Type: rxring.RawIP, MTU: 1420,
		Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
	})
	if err != nil {
		return err
	}
	srv, err := attach.Listen(path, attach.Config{Namespace: ns})
	if err != nil {
		return err
	}
	defer srv.Close()
	published, err := attach.Publish(ns, "lend") // if RXRING_PUBLISH=1: `rxring ps` lists it
	if err != nil {
		return err
	}
	defer published.Close()

	wg0.SetTransmit(func(p *rxring.Packet) error { return pong(wg0, p.Data) })
	fmt.Println("listening at", srv.Addr())
	for packet := range traffic.Packets(ctx) {
		wg0.Deliver(&rxring.Packet{Data: packet, Outgoing: true})
	}
	return nil
}

// pong answers an ICMP echo request.
func pong(d *rxring.Device, ip []byte) error {
	if len(ip) < 28 || ip[0] != 0x45 || ip[9] != 1 || ip[20] != 8 {
		return nil
	}
	b := append([]byte(nil), ip...)
	copy(b[12:], ip[16:20])
	copy(b[16:], ip[12:16])
	b[20] = 0                                           // echo reply
	sum := (uint32(b[22])<<8 | uint32(b[23])) + 0x08<<8 // the checksum without the request's type
	sum = sum&0xffff + sum>>16
	b[22], b[23] = byte(sum>>8), byte(sum)
	d.Deliver(&rxring.Packet{Data: b})
	return nil
}
