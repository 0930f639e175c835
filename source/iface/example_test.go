package iface_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/source/iface"
)

// A device stands for eth0, in a namespace that can be lent to others.
func Example() {
	c, err := iface.Describe("eth0")
	if err != nil {
		log.Fatal(err)
	}
	dev, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(c)
	if err != nil {
		log.Fatal(err)
	}
	source, err := iface.Start(dev, iface.Config{Failed: func(err error) { log.Print(err) }})
	if err != nil {
		log.Fatal(err)
	}
	defer source.Close()

	// From here on the kernel captures, until the reader is closed.
	h, err := capture.OpenDevice(dev, capture.Config{Promiscuous: true})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for p, err := range h.Packets(ctx) {
		if err != nil {
			log.Print(err)
			break
		}
		fmt.Println(p.Time(), p.Len)
	}
	fmt.Println(source.Stats().Drops, "packets that the kernel had no room for")
}
