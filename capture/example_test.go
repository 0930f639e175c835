package capture_test

import (
	"context"
	"fmt"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
)

// What passes a device of this program. For a live interface it is capture.Open,
// and the rest is the same.
func ExampleOpenDevice() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	wg0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP, MTU: 1420})

	h, err := capture.OpenDevice(wg0, capture.Config{Retire: time.Millisecond})
	if err != nil {
		fmt.Println(err)
		return
	}
	time.AfterFunc(100*time.Millisecond, func() { h.Close() }) // ends the loop

	packet := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	for range 3 {
		wg0.Deliver(&rxring.Packet{Data: packet})
	}
	for p, err := range h.Packets(context.Background()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(p.Len, "bytes from", p.Data[12:16])
	}
	s, _ := h.Stats()
	fmt.Println(s.Packets, "packets,", s.Drops, "dropped")
	// Output:
	// 20 bytes from [192 0 2 1]
	// 20 bytes from [192 0 2 1]
	// 20 bytes from [192 0 2 1]
	// 3 packets, 0 dropped
}
