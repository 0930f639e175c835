// Command offer is README's example of package attach: it offers a device of its own
// at a unix socket. What peers send is answered, if it is a ping.
package main

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
)

func main() {
	if err := offer(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func offer(path string) error {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, err := ns.AddDevice(rxring.DeviceConfig{
		Name: "wg0", Type: rxring.RawIP, MTU: 1420,
		Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
	})
	if err != nil {
		return err
	}
	srv, err := attach.Listen(path, attach.Config{Namespace: ns})
	if err != nil {
		return err
	}
	defer srv.Close()

	wg0.SetTransmit(func(p *rxring.Packet) error { return pong(wg0, p.Data) })
	fmt.Println("listening at", srv.Addr())
	for packet := range packets() {
		wg0.Deliver(&rxring.Packet{Data: packet, Outgoing: true})
	}
	return nil
}

// packets are UDP packets from 192.0.2.1 to 192.0.2.2, a thousand a second.
func packets() <-chan []byte {
	c := make(chan []byte)
	go func() {
		for i := 0; ; i++ {
			time.Sleep(time.Millisecond)
			text := fmt.Sprintf("packet %d of a tunnel", i)
			b := []byte{0x45, 0, 0, byte(28 + len(text)), 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, // IPv4
				0x13, 0x88, 0x17, 0x70, 0, byte(8 + len(text)), 0, 0} // UDP
			c <- append(b, text...)
		}
	}()
	return c
}

// pong answers an ICMP echo request.
func pong(d *rxring.Device, ip []byte) error {
	if len(ip) < 28 || ip[0] != 0x45 || ip[9] != 1 || ip[20] != 8 {
		return nil
	}
	b := append([]byte(nil), ip...)
	copy(b[12:], ip[16:20])
	copy(b[16:], ip[12:16])
	b[20] = 0                                           // echo reply
	sum := (uint32(b[22])<<8 | uint32(b[23])) + 0x08<<8 // what the type no longer adds
	sum = sum&0xffff + sum>>16
	b[22], b[23] = byte(sum>>8), byte(sum)
	d.Deliver(&rxring.Packet{Data: b})
	return nil
}
