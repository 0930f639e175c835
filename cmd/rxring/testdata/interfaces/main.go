// Command interfaces lists network interfaces as Go programs do.
package main

import (
	"fmt"
	"net"
	"os"
)

func main() {
	all, err := net.Interfaces()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		fmt.Println(i.Index, i.Name, i.MTU, i.HardwareAddr, i.Flags, addrs, err)
	}
	_, err = net.InterfaceByName("lo")
	fmt.Println("lo:", err)
}
