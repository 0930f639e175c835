// Command tap runs a packet sniffer on the packets of a tunnel in this process. The
// sniffer is the system's, and needs no privileges.
//
//	tap tcpdump -i wg0 -n -c 3
package main

import (
	"context"
	"log"
	"net/netip"
	"os"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/examples/internal/traffic"
	"github.com/rxring/rxring/interpose"
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
	wg0, err := ns.AddDevice(rxring.DeviceConfig{
		Name: "wg0", Type: rxring.RawIP, MTU: 1420,
		Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}, // as `ip addr` shows them
	})
	if err != nil {
		return 0, err
	}
	go func() {
		for packet := range traffic.Packets(ctx) {
			wg0.Deliver(&rxring.Packet{Data: packet, Outgoing: true}) // the tap
		}
	}()
	result, err := interpose.Run(ctx, interpose.Config{Namespace: ns, Args: sniffer})
	return result.ExitCode, err
}
