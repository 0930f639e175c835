package rxring_test

import (
	"fmt"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// benchRing is a V2 ring of 4096 slots on a device, drained by the benchmark.
func benchRing(tb testing.TB, frameSize int, filter []cbpf.Instruction) (*rxring.Device, *rxring.Socket, *ring.Reader) {
	tb.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		tb.Fatal(err)
	}
	s, err := ns.Socket(rxring.SockRaw, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	const slots = 4096
	blockSize := max(frameSize, 64<<10)
	req := tpacket.Req{BlockSize: uint32(blockSize), FrameSize: uint32(frameSize), FrameNr: slots}
	req.BlockNr = slots / (req.BlockSize / req.FrameSize)
	for _, err := range []error{
		s.SetVersion(tpacket.V2), s.SetRxRing(req), s.BindDevice(dev, tpacket.ETHPAll),
	} {
		if err != nil {
			tb.Fatal(err)
		}
	}
	if filter != nil {
		if err := s.AttachFilter(filter); err != nil {
			tb.Fatal(err)
		}
	}
	rd, err := s.NewReader()
	if err != nil {
		tb.Fatal(err)
	}
	return dev, s, rd
}

// BenchmarkDeliver is one writer, one packet a call; bench/ has more of them,
// and peers. The ring is emptied, off
// the clock, before it can fill.
func BenchmarkDeliver(b *testing.B) {
	b.Run("no-socket", func(b *testing.B) {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
		if err != nil {
			b.Fatal(err)
		}
		p := rxring.Packet{Data: rxtest.Frame(64), Timestamp: 1}
		b.ReportAllocs()
		for b.Loop() {
			dev.Deliver(&p)
		}
	})
	for _, c := range []struct {
		name      string
		size      int
		frame     int
		timestamp int64
		filter    []cbpf.Instruction
	}{
		{"64B", 64, 256, 1, nil},
		{"64B-own-timestamp", 64, 256, 0, nil},
		{"1500B", 1500, 2048, 1, nil},
		{"64KiB", 65536, 1 << 17, 1, nil},
		{"64B-filter-refuses", 64, 256, 1, []cbpf.Instruction{{Op: 0x06}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			dev, _, rd := benchRing(b, c.frame, c.filter)
			p := rxring.Packet{Data: rxtest.Frame(c.size), Timestamp: c.timestamp}
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i++ {
				if i%4096 == 4095 {
					b.StopTimer()
					rxtest.Drain(rd)
					b.StartTimer()
				}
				dev.Deliver(&p)
			}
		})
	}
	for _, c := range []struct {
		name  string
		grant *rxring.Grant
		batch int
	}{
		{"64B-granted", &rxring.Grant{Devices: rxtest.Only("net0"), Filter: rxtest.Keep(1 << 18), Snaplen: 60}, 1},
		{"64B-account", &rxring.Grant{Account: rxring.NewAccount()}, 1},
		{"64B-batch-32", nil, 32},
		{"64B-account-batch-32", &rxring.Grant{Account: rxring.NewAccount()}, 32},
	} {
		b.Run(c.name, func(b *testing.B) {
			dev, s, rd := benchRing(b, 256, nil)
			if c.grant != nil {
				rxtest.Must(b, s.SetGrant(c.grant))
			}
			ps := make([]rxring.Packet, c.batch)
			for i := range ps {
				ps[i] = rxring.Packet{Data: rxtest.Frame(64), Timestamp: 1}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += len(ps) {
				if i%4096 == 0 {
					b.StopTimer()
					rxtest.Drain(rd)
					if c.grant != nil && c.grant.Account != nil {
						c.grant.Account.Forgive(dev)
					}
					b.StartTimer()
				}
				if c.batch > 1 {
					dev.DeliverBatch(ps)
				} else {
					dev.Deliver(&ps[0])
				}
			}
		})
	}
}

// BenchmarkCopy is the bare copy that Deliver is measured against: the same
// bytes into the same kind of memory.
func BenchmarkCopy(b *testing.B) {
	for _, size := range []int{64, 1500, 65536} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			slot := 2 * size
			m, err := ring.NewMemory(4096 * slot)
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			src, dst := rxtest.Frame(size), m.Bytes()
			b.SetBytes(int64(size))
			b.ResetTimer()
			for i := 0; i < b.N; i++ {
				copy(dst[i%4096*slot:], src)
			}
		})
	}
}
