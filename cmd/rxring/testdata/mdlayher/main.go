// Command mdlayher asks by ARP who has an IPv4 address, over a packet socket of
// github.com/mdlayher/packet.
//
//	mdlayher DEVICE OWN-ADDRESS ADDRESS
package main

import (
	"bytes"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/packet"
)

const etherTypeARP = 0x0806

func main() {
	log.SetFlags(0)
	ifi, err := net.InterfaceByName(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	own, asked := netip.MustParseAddr(os.Args[2]), netip.MustParseAddr(os.Args[3])
	for _, typ := range []packet.Type{packet.Raw, packet.Datagram} {
		if err := ask(typ, ifi, own, asked); err != nil {
			log.Fatal(err)
		}
	}
}

func ask(typ packet.Type, ifi *net.Interface, own, asked netip.Addr) error {
	c, err := packet.Listen(ifi, typ, etherTypeARP, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	arp := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	arp = append(append(arp, ifi.HardwareAddr...), own.AsSlice()...)
	arp = append(append(arp, 0, 0, 0, 0, 0, 0), asked.AsSlice()...)
	header := append(append(bytes.Clone(broadcast), ifi.HardwareAddr...), etherTypeARP>>8, etherTypeARP&0xff)
	frame := arp
	if typ == packet.Raw {
		frame = append(header, arp...)
	}
	n, err := c.WriteTo(frame, &packet.Addr{HardwareAddr: broadcast})
	if err != nil || n != len(frame) {
		return fmt.Errorf("sent %d of %d bytes: %w", n, len(frame), err)
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	buf := make([]byte, 2000)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		b := buf[:n]
		if typ == packet.Raw {
			b = b[len(header):]
		}
		if b[7] == 2 && bytes.Equal(b[14:18], asked.AsSlice()) {
			fmt.Printf("%v: %v is at %v, says %v\n", typ, asked, net.HardwareAddr(b[8:14]), from)
			break
		}
	}
	// A read that gets nothing ends at its deadline.
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		return err
	}
	if _, _, err := c.ReadFrom(buf); !os.IsTimeout(err) {
		return fmt.Errorf("read again: %v", err)
	}
	return nil
}
