package rxring_test

import (
	"fmt"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// A device that somebody watches, and one packet through it.
func Example() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP, MTU: 1420})

	// The reader's side: a socket with a ring of 16 slots.
	s, _ := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	defer s.Close()
	s.SetVersion(tpacket.V2)
	s.SetRxRing(tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 4096, FrameNr: 16})
	reader, _ := s.NewReader()

	// The writer's side: where a packet passes, from any goroutine.
	packet := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	wg0.Deliver(&rxring.Packet{Data: packet, Outgoing: true})

	frame, _ := reader.Next()
	fmt.Printf("%d bytes, protocol %#x, outgoing %v\n",
		frame.Len, tpacket.Htons(frame.From.Protocol), frame.From.Pkttype == tpacket.PacketOutgoing)
	frame.Release()
	// Output: 20 bytes, protocol 0x800, outgoing true
}
