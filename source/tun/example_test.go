package tun_test

import (
	"context"
	"fmt"
	"log"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/source/tun"
)

// A TUN device whose packets a reader captures. tunDev is what the program has already, such
// as golang.zx2c4.com/wireguard's tun.CreateTUN returns.
func ExampleAdd() {
	tunDev := newPipe()
	tunDev.reads <- []read{{packet: ipv4(1, 60)}}

	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	d, err := tun.Add(ns, tunDev, tun.Config{Name: "wg0"})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	h, err := capture.OpenDevice(d.Tap(), capture.Config{Immediate: true})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	bufs, sizes := newBuffers()
	if _, err := d.Read(bufs, sizes, 16); err != nil { // as WireGuard does
		log.Fatal(err)
	}
	p, err := h.Next(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.Len, "bytes leave by", d.Tap().Name())
	// Output: 60 bytes leave by wg0
}
