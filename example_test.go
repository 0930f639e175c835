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

// A socket without a ring, as small programs use one: a packet a call, with what
// the kernel would tell of it.
func ExampleSocket_Recv() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	net0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	s, _ := ns.Socket(rxring.SockDgram, tpacket.ETHPAll)
	defer s.Close()

	// A frame with VLAN tag 5, to everybody.
	net0.Deliver(&rxring.Packet{Data: []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x81\x00\x00\x05\x08\x06who has")})

	b := make([]byte, 1500)
	m, err := s.Recv(b, 0)
	fmt.Printf("%q, VLAN %d, broadcast %v, %v\n", b[:m.N], m.Auxdata.VLANTCI, m.From.Pkttype == tpacket.PacketBroadcast, err)
	_, err = s.Recv(b, 0)
	fmt.Println(err)
	// Output:
	// "who has", VLAN 5, broadcast true, <nil>
	// recvmsg: resource temporarily unavailable
}

// What a program sends: the device's owner gets it, and may answer at once.
func ExampleDevice_SetTransmit() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	net0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "net0", HardwareAddr: [6]byte{2, 0, 0, 0, 0, 1}})
	net0.SetTransmit(func(p *rxring.Packet) error {
		fmt.Printf("sent: %q\n", p.Data[14:])
		answer := append([]byte(nil), p.Data...)                           // p is the sender's again
		copy(answer, answer[6:12])                                         // to who asked
		copy(answer[6:], "\x02\x00\x00\x00\x00\x02")                       // from somebody
		net0.Deliver(&rxring.Packet{Data: append(answer[:14], "I am"...)}) // as from the wire
		return nil
	})

	s, _ := ns.Socket(rxring.SockDgram, 0x88b5)
	defer s.Close()
	everybody := tpacket.SockaddrLL{
		Ifindex: int32(net0.Index()), Protocol: tpacket.Htons(0x88b5),
		Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	s.SendTo([]byte("who is there?"), &everybody)
	b := make([]byte, 1500)
	m, _ := s.Recv(b, 0)
	fmt.Printf("heard: %q from % x\n", b[:m.N], m.From.Addr[:m.From.Halen])
	// Output:
	// sent: "who is there?"
	// heard: "I am" from 02 00 00 00 00 02
}
