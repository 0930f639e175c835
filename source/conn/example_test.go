package conn_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/source/conn"
)

// A virtual machine that sends a frame over QEMU's protocol.
func ExampleAdd() {
	host, guest := net.Pipe()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	vm, err := conn.Add(ns, host, conn.QEMU, conn.Config{Name: "vm0"})
	if err != nil {
		log.Fatal(err)
	}
	defer vm.Close()

	vm0, _ := ns.DeviceByName("vm0")
	h, err := capture.OpenDevice(vm0, capture.Config{Immediate: true})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	go guest.Write(append([]byte{0, 0, 0, 60}, frame(1, 60)...))
	if _, err := vm.Read(make([]byte, 1<<16)); err != nil { // as the network does
		log.Fatal(err)
	}
	p, err := h.Next(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.Len, "bytes from the machine")
	// Output: 60 bytes from the machine
}
