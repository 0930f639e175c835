package top

import (
	"fmt"
	"testing"
	"time"

	"github.com/rxring/rxring/attach"
)

// BenchmarkManyDevices lays out 1000 readers of many devices, as one report of text and as a frame
// on a terminal.
func BenchmarkManyDevices(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		r := &Report{Time: time.Unix(1e9, 0)}
		for i := range n {
			d := attach.DeviceStatus{Index: i + 2, Name: fmt.Sprintf("vpn%d", i), Type: "ethernet", MTU: 1500, Up: true, Addrs: []string{"192.0.2.1/24"}}
			r.Devices = append(r.Devices, Device{DeviceStatus: d})
		}
		for i := range 1000 {
			s := attach.SocketStatus{ID: uint32(i), Device: "vpn1", Ring: &attach.RingStatus{Version: "V3", Slots: 64, SlotBytes: 1 << 18, States: "RRRRRRRR........"}}
			s.Peer.PID = 1000 + i
			r.Sockets = append(r.Sockets, Socket{SocketStatus: s, Program: "tcpdump", User: "root"})
		}
		b.Run(fmt.Sprintf("%d/text", n), func(b *testing.B) {
			for b.Loop() {
				(&screen{path: "wg0.sock", report: r}).lines()
			}
		})
		b.Run(fmt.Sprintf("%d/terminal", n), func(b *testing.B) {
			for b.Loop() {
				(&screen{path: "wg0.sock", report: r, width: 120, height: 40, live: true, colors: colors()}).lines()
			}
		})
	}
}
