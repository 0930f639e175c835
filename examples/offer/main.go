// Command offer is a VPN with a hook for captures, as NetBird has one: a filter of its packet
// path calls Offer with each packet while a capture runs. Here the capture is a device, and the
// hook is set only while a program reads it.
//
//	offer wg0.sock
//	rxring run --at wg0.sock -- tcpdump -i wg0 -n    # in another terminal
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/examples/internal/traffic"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: offer SOCKET")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

// packetCapture is the VPN's interface for captures. Offer must not keep the packet.
type packetCapture interface {
	Offer(packet []byte, outbound bool)
}

// vpn is a packet path with a hook.
type vpn struct {
	capture atomic.Pointer[packetCapture] // nil: none
}

func (v *vpn) setCapture(c packetCapture) {
	if c == nil {
		v.capture.Store(nil)
	} else {
		v.capture.Store(&c)
	}
}

// run passes packets until ctx ends.
func (v *vpn) run(ctx context.Context) {
	for packet := range traffic.Packets(ctx) {
		if c := v.capture.Load(); c != nil {
			(*c).Offer(packet, true)
		}
	}
}

// tap is a device as a packetCapture.
type tap struct{ *rxring.Device }

func (t tap) Offer(packet []byte, outbound bool) {
	t.Deliver(&rxring.Packet{Data: packet, Outgoing: outbound})
}

func run(ctx context.Context, path string) error {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, err := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP, MTU: 1280})
	if err != nil {
		return err
	}
	v := new(vpn)
	var mu sync.Mutex // calls of the function may be concurrent and out of order
	capturing := false
	wg0.OnInterestChange(func() {
		mu.Lock()
		defer mu.Unlock()
		if now := wg0.HasListeners(); now != capturing {
			capturing = now
			fmt.Println("capturing:", now)
			if now {
				v.setCapture(tap{wg0})
			} else {
				v.setCapture(nil)
			}
		}
	})
	srv, err := attach.Listen(path, attach.Config{Namespace: ns})
	if err != nil {
		return err
	}
	defer srv.Close()

	fmt.Println("listening at", srv.Addr())
	v.run(ctx)
	return nil
}
