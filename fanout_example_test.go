package rxring_test

import (
	"fmt"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

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
