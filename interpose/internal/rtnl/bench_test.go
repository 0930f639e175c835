//go:build linux

package rtnl

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// BenchmarkManyDevices measures lists of many devices: dumps, files of /proc/net, and the look for
// changes that a member of a multicast group causes several times a second.
func BenchmarkManyDevices(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		bus, ns := newBus(b)
		for i := range n {
			ip := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})
			ip6 := netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::1", i))
			add(b, ns, rxring.DeviceConfig{Name: fmt.Sprintf("vpn%d", i), Prefixes: []netip.Prefix{netip.PrefixFrom(ip, 24), netip.PrefixFrom(ip6, 64)}})
		}
		dump := func(typ uint16) func(*testing.B) {
			return func(b *testing.B) {
				for b.Loop() {
					s := bus.Socket(7, unix.SOCK_RAW)
					send(b, s, dumpOf(typ, 0))
					for range drain(b, s.recv) {
					}
					s.Close()
				}
			}
		}
		b.Run(fmt.Sprintf("%d/links", n), dump(unix.RTM_GETLINK))
		b.Run(fmt.Sprintf("%d/addresses", n), dump(unix.RTM_GETADDR))
		b.Run(fmt.Sprintf("%d/routes", n), dump(unix.RTM_GETROUTE))
		for name, file := range netdev.ProcNet {
			b.Run(fmt.Sprintf("%d/proc-net-%s", n, name), func(b *testing.B) {
				for b.Loop() {
					file(netdev.All(ns))
				}
			})
		}
		s := bus.Socket(7, unix.SOCK_RAW)
		s.Bind(Address(0, 1)) // RTMGRP_LINK
		b.Run(fmt.Sprintf("%d/announce-nothing", n), func(b *testing.B) {
			for b.Loop() {
				bus.Announce()
			}
		})
		s.Close()
	}
}
