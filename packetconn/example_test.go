package packetconn_test

import (
	"fmt"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/packetconn"
)

// A host that answers whoever asks for it.
func ExampleListen() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	net0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "net0", HardwareAddr: [6]byte{2, 0, 0, 0, 0, 1}})
	net0.SetTransmit(func(p *rxring.Packet) error {
		fmt.Printf("sent: % x %q\n", p.Data[:14], p.Data[14:])
		return nil
	})

	c, err := packetconn.Listen(net0, packetconn.Config{Datagram: true, Protocol: 0x88b5})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	net0.Deliver(&rxring.Packet{Data: []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x02\x88\xb5who is there?")})

	b := make([]byte, 1500)
	n, from, err := c.ReadFrom(b)
	fmt.Printf("received: %q from %v, %v\n", b[:n], from, err)
	c.WriteTo([]byte("I am"), from)
	// Output:
	// received: "who is there?" from 02:00:00:00:00:02, <nil>
	// sent: 02 00 00 00 00 02 02 00 00 00 00 01 88 b5 "I am"
}
