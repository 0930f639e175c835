package tun_test

import (
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
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

const (
	benchBatch = 128 // packets a call, as WireGuard has them on Linux
	benchSize  = 1420
)

// BenchmarkDevice moves 128 packets a call. ns/op is of one packet. Watched, it is to be
// compared with deliver, which is Device.DeliverBatch of the same packets into such a ring, and
// with copy, which copies them there and no more.
func BenchmarkDevice(b *testing.B) {
	bufs, sizes := make([][]byte, benchBatch), make([]int, benchBatch)
	packets := make([][]byte, benchBatch)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
		copy(bufs[i][offset:], ipv4(1, benchSize))
		packets[i] = bufs[i][:offset+benchSize]
	}
	inner := endless{newPipe(), benchSize}
	calls := func(name string, d interface {
		Read(bufs [][]byte, sizes []int, offset int) (int, error)
		Write(bufs [][]byte, offset int) (int, error)
	}, rd *ring.Reader) {
		b.Run("read/"+name, func(b *testing.B) { run(b, rd, func() { d.Read(bufs, sizes, offset) }) })
		b.Run("write/"+name, func(b *testing.B) { run(b, rd, func() { d.Write(packets, offset) }) })
	}
	calls("bare", inner, nil)
	b.Run("copy", func(b *testing.B) {
		slots, n := make([]byte, 1<<20), 0
		run(b, nil, func() {
			for _, p := range packets {
				copy(slots[n:n+2048], p[offset:])
				n = (n + 2048) % len(slots)
			}
		})
	})
	for name, typ := range map[string]rxring.DeviceType{"raw": rxring.RawIP, "ethernet": rxring.Ethernet} {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(b, ns, rxring.DeviceConfig{Name: "wg0", Type: typ, MTU: benchSize})
		d := tun.Wrap[event](inner, dev)
		calls(name+"-unwatched", d, nil)
		_, rd := rxtest.Open(b, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 20, BlockNr: 1, FrameSize: 2048, FrameNr: 512})
		calls(name+"-watched", d, rd)
		ready := make([]rxring.Packet, benchBatch)
		for i := range ready {
			ready[i] = rxring.Packet{Data: bufs[i][offset : offset+benchSize], Outgoing: true}
			if typ == rxring.Ethernet {
				ready[i].Data = []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00")
				ready[i].Rest = [][]byte{bufs[i][offset : offset+benchSize]}
			}
		}
		b.Run(name+"-deliver", func(b *testing.B) { run(b, rd, func() { dev.DeliverBatch(ready) }) })
		d.Close()
	}
}

// run calls pass, which moves a batch. A ring is drained off the clock: without StopTimer, which
// stops the world.
func run(b *testing.B, rd *ring.Reader, pass func()) {
	b.ReportAllocs()
	var drained time.Duration
	for i := 0; i < b.N; i += benchBatch {
		pass()
		if rd != nil && i/benchBatch%4 == 3 {
			begin := time.Now()
			rxtest.Drain(rd)
			drained += time.Since(begin)
		}
	}
	b.ReportMetric(float64(b.Elapsed()-drained)/float64(b.N), "ns/op")
}
