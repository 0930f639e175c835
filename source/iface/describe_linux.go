package iface

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/rxring/rxring"
)

// Describe returns the configuration of a device that represents the interface of that name
// in the calling thread's network namespace: its index, type, MTU, longest segment and
// addresses. It needs no privilege. It fails with ENODEV if there is no such interface.
func Describe(name string) (rxring.DeviceConfig, error) {
	c, err := describe(name)
	if err != nil {
		return rxring.DeviceConfig{}, fmt.Errorf("iface: interface %s: %w", name, err)
	}
	return c, nil
}

func describe(name string) (c rxring.DeviceConfig, err error) {
	l, err := lookUp(name)
	if err != nil {
		return c, err
	}
	c = rxring.DeviceConfig{Name: name, Index: l.index, Type: rxring.DeviceType(l.hatype)}
	i, err := net.InterfaceByIndex(l.index)
	if err != nil {
		return c, err
	}
	n, err := l.lengths()
	if err != nil {
		return c, err
	}
	c.MTU, c.MaxLen = n.mtu, n.maxLen
	if c.Type.Ethernet() {
		copy(c.HardwareAddr[:], i.HardwareAddr)
	}
	addrs, err := i.Addrs()
	if err != nil {
		return c, err
	}
	for _, a := range addrs {
		ipnet, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(ipnet.IP)
		ones, _ := ipnet.Mask.Size()
		// A peer's address is listed with the prefix of both, maybe twice.
		if p := netip.PrefixFrom(ip.Unmap(), ones); p.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && !slices.Contains(c.Prefixes, p) {
			c.Prefixes = append(c.Prefixes, p)
		}
	}
	return c, nil
}
