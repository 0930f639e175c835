// Command netstacktap runs a packet sniffer on the packets of a gVisor network stack in
// this process.
//
//	netstacktap tcpdump -i net0 -n -c 5 tcp
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
	interpose.Init() // first, since interpose.Run executes this program again
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
	net0, err := ns.AddDevice(rxring.DeviceConfig{
		Name:     "net0",
		Prefixes: []netip.Prefix{netip.PrefixFrom(client, 24)}, // as `ip addr` shows them
	})
	if err != nil {
		return 0, err
	}
	near, far := pipe.New("\x02\x00\x00\x00\x00\x01", "\x02\x00\x00\x00\x00\x02", 1514)
	link := ethernet.New(near)
	net0.SetTransmit(netstack.Transmit(link)) // what the sniffer sends
	if err := talk(ctx, netstack.New(link, net0), ethernet.New(far)); err != nil {
		return 0, err
	}
	result, err := interpose.Run(ctx, interpose.Config{Namespace: ns, Args: sniffer})
	return result.ExitCode, err
}
