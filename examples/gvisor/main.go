// Command gvisor runs a packet sniffer on the packets of a gVisor network stack in this
// process. What the sniffer sends, such as the ARP requests of arping, the stack's network
// card sends.
//
//	gvisor tcpdump -i net0 -n -c 5 tcp
package main

import (
	"context"
	"log"
	"net/netip"
	"os"

	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/link/pipe"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose"
	"github.com/rxring/rxring/source/netstack"
)

func main() {
	log.SetFlags(0)
	code, err := tap(os.Args[1:])
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

// tap returns the exit code of the sniffer.
func tap(sniffer []string) (int, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	near, far := pipe.New("\x02\x00\x00\x00\x00\x01", "\x02\x00\x00\x00\x00\x02", 1500)
	link, err := netstack.Add(ns, ethernet.New(near), rxring.DeviceConfig{
		Name:     "net0",
		Prefixes: []netip.Prefix{netip.PrefixFrom(client, 24)}, // as `ip addr` shows them
	})
	if err != nil {
		return 0, err
	}
	if err := talk(ctx, link, ethernet.New(far)); err != nil {
		return 0, err
	}
	result, err := interpose.Run(ctx, interpose.Config{Namespace: ns, Args: sniffer})
	return result.ExitCode, err
}
