package tun_test

import (
	"fmt"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/source/tun"
	"github.com/rxring/rxring/tpacket"
)

// endless is an inner device that always has a batch of packets to read.
type endless struct {
	tun.Inner[event]
	size int
}

func (e endless) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for i := range bufs {
		sizes[i] = e.size
	}
	return len(bufs), nil
}

func (endless) Write(bufs [][]byte, offset int) (int, error) { return len(bufs), nil }

// BenchmarkDevice moves 128 packets a call, as WireGuard does on Linux. ns/op is of one packet.
func BenchmarkDevice(b *testing.B) {
	const batch, offset, size = 128, 16, 1420
	type device interface {
		Read(bufs [][]byte, sizes []int, offset int) (int, error)
		Write(bufs [][]byte, offset int) (int, error)
	}
	bufs, sizes := make([][]byte, batch), make([]int, batch)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
		copy(bufs[i][offset:], ipv4(1, size))
	}
	packets := make([][]byte, batch)
	for i := range packets {
		packets[i] = bufs[i][:offset+size]
	}
	for _, read := range []bool{true, false} {
		call := map[bool]string{true: "read", false: "write"}[read]
		run := func(name string, d device, drain func()) {
			b.Run(fmt.Sprintf("%s/%s", call, name), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; i < b.N; i += batch {
					if read {
						d.Read(bufs, sizes, offset)
					} else {
						d.Write(packets, offset)
					}
					if drain != nil && i/batch%4 == 3 {
						b.StopTimer()
						drain()
						b.StartTimer()
					}
				}
			})
		}
		inner := endless{newPipe(), size}
		run("bare", inner, nil)
		for _, typ := range []rxring.DeviceType{rxring.RawIP, rxring.Ethernet} {
			name := map[rxring.DeviceType]string{rxring.RawIP: "raw", rxring.Ethernet: "ethernet"}[typ]
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(b, ns, rxring.DeviceConfig{Name: "wg0", Type: typ, MTU: size})
			d := tun.Wrap[event](inner, dev)
			run(name+"-unwatched", d, nil)
			_, rd := rxtest.Open(b, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 20, BlockNr: 1, FrameSize: 2048, FrameNr: 512})
			run(name+"-watched", d, func() { rxtest.Drain(rd) })
			d.Close()
		}
	}
}
