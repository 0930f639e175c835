package ring_test

import (
	"context"
	"fmt"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/ring"
)

// A frame's bytes are valid until its release. A clone keeps them.
func ExampleFrame_Clone() {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	net0, _ := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	h, err := capture.OpenDevice(net0, capture.Config{Immediate: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close()

	var second ring.Frame
	for i := range byte(3) {
		net0.Deliver(&rxring.Packet{Data: append(make([]byte, 14), i)})
		p, err := h.Next(context.Background()) // releases the one before
		if err != nil {
			fmt.Println(err)
			return
		}
		if i == 1 {
			second = p.Clone()
		}
	}
	fmt.Println(second.Data[14])
	// Output: 1
}
