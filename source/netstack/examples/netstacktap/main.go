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

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose"
	"github.com/rxring/rxring/source/netstack/streams"
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
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	net0, err := ns.AddDevice(rxring.DeviceConfig{
		Name:     "net0",
		MaxLen:   streams.MaxLen, // segments are longer than the MTU
		Prefixes: []netip.Prefix{streams.LocalAddr},
	})
	if err != nil {
		return 0, err
	}
	// The stack's network card is net0: it delivers what the stack sends and receives.
	source, err := streams.Start(net0, streams.Config{Flows: 2})
	if err != nil {
		return 0, err
	}
	defer source.Close()
	result, err := interpose.Run(context.Background(), interpose.Config{Namespace: ns, Args: sniffer})
	return result.ExitCode, err
}
