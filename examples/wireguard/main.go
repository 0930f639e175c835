// Command wireguard connects two WireGuard peers in this process, each with a network stack of
// its own, and offers the packets of one's tunnel to other processes, as the device wg0. No
// privileges are needed. Every second the first peer sends half a MiB to the second over TCP.
//
//	wireguard wg0.sock
//	rxring run --at wg0.sock -- tcpdump -i wg0 -n    # in another terminal
package main

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"golang.zx2c4.com/wireguard/tun/netstack"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/source/tun"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: wireguard SOCKET")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

const mtu = 1420

var (
	near, far = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	discard   = netip.AddrPortFrom(far, 9)
)

func run(ctx context.Context, path string) error {
	nearTun, nearNet, err := netstack.CreateNetTUN([]netip.Addr{near}, nil, mtu)
	if err != nil {
		return err
	}
	farTun, farNet, err := netstack.CreateNetTUN([]netip.Addr{far}, nil, mtu)
	if err != nil {
		return err
	}

	// The tap: what follows is as it would be without.
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	nearTun, err = tun.Add(ns, nearTun, tun.Config{
		Name:     "wg0",
		Prefixes: []netip.Prefix{netip.PrefixFrom(near, 24)}, // as `ip addr` shows them
		Ethernet: true,                                       // an interactive tcpdump then has room for a thousand packets
		Send:     true,
	})
	if err != nil {
		return err
	}
	srv, err := attach.Listen(path, attach.Config{Namespace: ns})
	if err != nil {
		return err
	}
	defer srv.Close()

	disconnect, err := connect(nearTun, farTun)
	if err != nil {
		return err
	}
	defer disconnect()
	l, err := farNet.ListenTCPAddrPort(discard)
	if err != nil {
		return err
	}
	go serve(l)

	fmt.Println("listening at", srv.Addr())
	for ctx.Err() == nil {
		conn, err := nearNet.DialContextTCPAddrPort(ctx, discard)
		if err == nil {
			err = transfer(conn, 512<<10)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}
