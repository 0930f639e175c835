// Command vmnet is a network of virtual machines, as gvproxy of podman machine, Lima and CRC is
// one, that other processes can capture on: a device for each machine, with its frames to and
// from other machines, too. Two guests in this process stand for machines; QEMU's
// -netdev stream has the same protocol.
//
//	vmnet vmnet.sock
//	rxring run --at vmnet.sock -- tcpdump -i vm1 -n -e    # in another terminal
//	rxring run --at vmnet.sock -- arping -D -I vm1 192.168.127.11    # the machine answers
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"github.com/containers/gvisor-tap-vsock/pkg/types"
	"github.com/containers/gvisor-tap-vsock/pkg/virtualnetwork"
	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/source/conn"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: vmnet SOCKET")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

var (
	addr1, addr2 = netip.MustParseAddr("192.168.127.11"), netip.MustParseAddr("192.168.127.12")
	mac1, mac2   = tcpip.LinkAddress("\x5a\x94\xef\x00\x00\x01"), tcpip.LinkAddress("\x5a\x94\xef\x00\x00\x02")
)

func run(ctx context.Context, path string) error {
	network, err := virtualnetwork.New(&types.Configuration{
		MTU:               1500,
		Subnet:            "192.168.127.0/24",
		GatewayIP:         "192.168.127.1",
		GatewayMacAddress: "5a:94:ef:e4:0c:dd",
	})
	if err != nil {
		return err
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	srv, err := attach.Listen(path, attach.Config{Namespace: ns})
	if err != nil {
		return err
	}
	defer srv.Close()

	// connect is what a daemon does for each machine that connects.
	connect := func(name string) (guest net.Conn, err error) {
		host, guest := net.Pipe()
		host, err = conn.Add(ns, host, conn.QEMU, conn.Config{ // the tap
			Name:     name,
			Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.127.254/24")}, // of programs that send
			Send:     true,
		})
		if err != nil {
			return nil, err
		}
		go network.AcceptQemu(ctx, host)
		return guest, nil
	}
	conn1, err := connect("vm1")
	if err != nil {
		return err
	}
	defer conn1.Close()
	conn2, err := connect("vm2")
	if err != nil {
		return err
	}
	defer conn2.Close()
	guest1, err := newGuest(ctx, conn1, mac1, addr1)
	if err != nil {
		return err
	}
	guest2, err := newGuest(ctx, conn2, mac2, addr2)
	if err != nil {
		return err
	}

	fmt.Println("listening at", srv.Addr())
	if err := guest2.serve(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := guest1.greet(ctx, addr2); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}
