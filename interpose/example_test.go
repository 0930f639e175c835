package interpose_test

import (
	"context"
	"log"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose"
)

// A device of a VPN, and a tcpdump on it.
func Example() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, err := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP, MTU: 1420})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for packet := range packets() {
			wg0.Deliver(&rxring.Packet{Data: packet, Outgoing: true})
		}
	}()
	result, err := interpose.Run(context.Background(), interpose.Config{
		Namespace: ns,
		Args:      []string{"tcpdump", "-i", "wg0", "-n"},
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Print(result.ExitCode, result.Sockets)
}

// packets yields the VPN's packets.
func packets() chan []byte { return nil }
