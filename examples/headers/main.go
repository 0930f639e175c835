// Command headers offers the packets of a tunnel to every user who can connect to a unix
// socket. They see the headers of the packets and no payload.
//
//	headers wg0.sock
//	rxring run --at wg0.sock -- tcpdump -i wg0 -n -X    # in another terminal
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/examples/internal/traffic"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: headers SOCKET")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := lend(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

// headers accepts as many bytes of each packet as the IPv4 header has, and 8 for UDP.
var headers = []cbpf.Instruction{
	{Op: 0xb1, K: 0}, // ldxb 4*([0]&0xf)
	{Op: 0x87},       // txa
	{Op: 0x04, K: 8}, // add #8
	{Op: 0x16},       // ret a
}

func lend(ctx context.Context, path string) error {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, err := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP, MTU: 1420})
	if err != nil {
		return err
	}
	srv, err := attach.Listen(path, attach.Config{
		Namespace: ns,
		Grant: func(attach.Peer) (attach.Grant, error) {
			return attach.Grant{Socket: rxring.Grant{Filter: headers, NoSend: true}}, nil
		},
		SocketPerms: func(file string) error { return os.Chmod(file, 0o666) },
	})
	if err != nil {
		return err
	}
	defer srv.Close()

	fmt.Println("listening at", srv.Addr())
	for packet := range traffic.Packets(ctx) {
		wg0.Deliver(&rxring.Packet{Data: packet, Outgoing: true})
	}
	return nil
}
