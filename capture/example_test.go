package capture_test

import (
	"context"
	"fmt"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
)

// The packets of a device of this program. For a live interface call capture.Open;
// the rest is the same.
func ExampleOpenDevice() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP, MTU: 1420})

	h, err := capture.OpenDevice(wg0, capture.Config{Retire: time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close() // or another goroutine's Close, which ends the loop

	packet := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	for range 3 {
		wg0.Deliver(&rxring.Packet{Data: packet})
	}
	n := 0
	for p, err := range h.Packets(context.Background()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(p.Len, "bytes from", p.Data[12:16])
		if n++; n == 3 {
			break
		}
	}
	s, _ := h.Stats()
	fmt.Println(s.Packets, "packets,", s.Drops, "dropped")
	// Output:
	// 20 bytes from [192 0 2 1]
	// 20 bytes from [192 0 2 1]
	// 20 bytes from [192 0 2 1]
	// 3 packets, 0 dropped
}

// With VnetHeader, the bytes before each packet are the struct virtio_net_hdr of the Linux
// socket: whether the checksum is still to be computed, and the size of its segments.
func ExampleConfig_vnetHeader() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	net0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	h, err := capture.OpenDevice(net0, capture.Config{Immediate: true, VnetHeader: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close()

	net0.Deliver(&rxring.Packet{Data: make([]byte, 60)})
	p, err := h.Next(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("% x, then %d bytes\n", p.Headroom(10), len(p.Data))
	// Output:
	// 00 00 00 00 00 00 00 00 00 00, then 60 bytes
}
