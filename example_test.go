package rxring_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// A device with a socket, and one packet through it.
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
		copy(answer, answer[6:12])                                         // to the sender of the request
		copy(answer[6:], "\x02\x00\x00\x00\x00\x02")                       // from another host
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

// Two sockets share a device's packets by flow: both ways of a connection are read
// by the same one, and no two readers see the same packet.
func ExampleSocket_JoinFanout() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP})

	var sockets []*rxring.Socket
	for range 2 {
		s, _ := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
		defer s.Close()
		s.SetVersion(tpacket.V2)
		s.SetRxRing(tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 4096, FrameNr: 16})
		s.BindDevice(wg0, tpacket.ETHPAll)
		if err := s.JoinFanout(rxring.FanoutConfig{ID: 1, Mode: rxring.FanoutHash}); err != nil {
			fmt.Println(err)
		}
		sockets = append(sockets, s)
	}

	there := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x30, 0x39, 0, 53, 0, 8, 0, 0}
	back := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1, 0, 53, 0x30, 0x39, 0, 8, 0, 0}
	wg0.Deliver(&rxring.Packet{Data: there, Outgoing: true})
	wg0.Deliver(&rxring.Packet{Data: back})

	for _, s := range sockets {
		if n := s.Totals().Captured; n > 0 {
			fmt.Println("one socket has", n, "packets")
		}
	}
	// Output: one socket has 2 packets
}

// A program chooses: here by the last byte of the source address.
func ExampleSocket_SetFanoutProgram() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP})
	var sockets []*rxring.Socket
	for range 3 {
		s, _ := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
		defer s.Close()
		s.SetVersion(tpacket.V2)
		s.SetRxRing(tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 4096, FrameNr: 16})
		s.JoinFanout(rxring.FanoutConfig{Mode: rxring.FanoutCBPF})
		sockets = append(sockets, s)
	}
	sockets[0].SetFanoutProgram([]cbpf.Instruction{
		{Op: 0x30, K: 15}, // ldb [15]
		{Op: 0x16},        // ret a
	})
	for host := range byte(10) {
		wg0.Deliver(&rxring.Packet{Data: []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, host, 192, 0, 2, 2}})
	}
	for i, s := range sockets {
		fmt.Println("member", i, "has", s.Totals().Captured)
	}
	// Output:
	// member 0 has 4
	// member 1 has 3
	// member 2 has 3
}

// A V3 ring, whose reader gets packets in blocks: each when it is full, and at the
// latest after 10 ms.
func ExampleSocket_SetRxRing3() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	net0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "net0", Type: rxring.RawIP})
	s, _ := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	defer s.Close()
	s.SetVersion(tpacket.V3)
	s.SetRxRing3(tpacket.Req3{
		Req:          tpacket.Req{BlockSize: 1 << 20, BlockNr: 4, FrameSize: 1 << 11, FrameNr: 4 << 9},
		RetireBlkTov: 10,
	})
	reader, _ := s.NewReader()

	net0.Deliver(&rxring.Packet{Data: []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}})

	reader.Wait(context.Background())
	frame, _ := reader.Next()
	fmt.Println(frame.Len, "bytes")
	frame.Release()
	// Output: 20 bytes
}

// A transmit ring: the program fills frames in shared memory, and one call sends them.
func ExampleSocket_SetTxRing() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	net0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	net0.SetTransmit(func(p *rxring.Packet) error {
		fmt.Printf("sent: %q\n", p.Data[14:])
		return nil
	})
	s, _ := ns.Socket(rxring.SockRaw, 0)
	defer s.Close()
	s.BindDevice(net0, 0)
	s.SetVersion(tpacket.V2)
	s.SetTxRing(tpacket.Req{BlockSize: 1 << 12, BlockNr: 1, FrameSize: 1 << 11, FrameNr: 2})

	memory, frames := s.TxRing().Memory().Bytes(), s.TxRing().Geometry()
	for i, payload := range []string{"one", "two"} {
		frame := memory[frames.FrameOffset(uint32(i)):]
		n := copy(frame[tpacket.V2.TxOffset():], "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5"+payload)
		h := tpacket.Header2At(frame)
		h.Len = uint32(n)
		atomic.StoreUint32(&h.Status, tpacket.StatusSendRequest)
	}
	n, err := s.Send(nil)
	fmt.Println(n, "bytes,", err)
	// Output:
	// sent: "one"
	// sent: "two"
	// 34 bytes, <nil>
}

// A source in front of a network card's receive filter: it delivers only packets that a
// card would accept.
func ExampleDevice_AcceptsDst() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	own, other := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	net0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "net0", HardwareAddr: own})
	fmt.Println(net0.AcceptsDst(own), net0.AcceptsDst(other))
	// Output: true false
}

// A socket for another process: it receives the first 96 bytes of IPv4 packets, cannot send,
// and its memory is limited.
func ExampleNamespace_SocketFor() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	net0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "net0", Type: rxring.RawIP})
	budget := rxring.NewBudget(16 << 20)
	s, _ := ns.SocketFor(&rxring.Grant{
		Filter:  []cbpf.Instruction{{Op: 0x30}, {Op: 0x54, K: 0xf0}, {Op: 0x15, Jf: 1, K: 0x40}, {Op: 0x06, K: 1 << 18}, {Op: 0x06}}, // ip
		Snaplen: 96,
		NoSend:  true,
		Budget:  budget,
	}, rxring.SockRaw, tpacket.ETHPAll)
	defer s.Close()

	net0.Deliver(&rxring.Packet{Data: append([]byte{0x45}, make([]byte, 999)...)})
	net0.Deliver(&rxring.Packet{Data: append([]byte{0x60}, make([]byte, 999)...)})

	b := make([]byte, 1500)
	m, _ := s.Recv(b, 0)
	fmt.Println(m.N, "of", m.Auxdata.Len, "bytes")
	_, err := s.Recv(b, 0)
	fmt.Println(err, budget.Held())
	// Output:
	// 96 of 1000 bytes
	// recvmsg: resource temporarily unavailable 0
}

// An adapter around a tunnel that reads many packets with a call.
func ExampleBatch() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP, MTU: 1420})
	s, _ := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	defer s.Close()

	bufs, sizes := [][]byte{
		{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 0, 0, 0},
		{0x45, 0, 0, 22, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 'h', 'i', 0, 0},
	}, []int{20, 22}
	if b := wg0.Batch(); b != nil { // nil while no socket is attached
		for i, n := range sizes {
			p := b.Next()
			p.Data, p.Outgoing = bufs[i][:n], true
		}
		b.Deliver()
	}
	fmt.Println(s.Totals().Captured, "packets")
	// Output: 2 packets
}
