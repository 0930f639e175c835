package rxring_test

import (
	"fmt"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/ringmem"
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
			m, err := ringmem.New(4096 * slot)
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

// BenchmarkSend sends frames to a device whose owner takes them, alone and with a
// socket that looks.
func BenchmarkSend(b *testing.B) {
	for _, watched := range []bool{false, true} {
		for _, n := range []int{64, 1500} {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(b, ns, rxring.DeviceConfig{Name: "net0"})
			dev.SetTransmit(func(*rxring.Packet) error { return nil })
			drain := func() {}
			if watched {
				_, rd := rxtest.Open(b, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 2048, FrameNr: 32})
				drain = func() {
					if f, ok := rd.Next(); ok {
						f.Release()
					}
				}
			}
			data := rxtest.Frame(n)
			to := &tpacket.SockaddrLL{Ifindex: int32(dev.Index()), Protocol: tpacket.Htons(tpacket.ETHPIP)}
			raw, dgram, ringed := rxtest.OpenSender(b, ns, dev, rxring.SockRaw), rxtest.OpenSender(b, ns, dev, rxring.SockDgram), rxtest.OpenSender(b, ns, dev, rxring.SockRaw)
			rxtest.Must(b, ringed.SetVersion(tpacket.V2), ringed.SetTxRing(tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 2048, FrameNr: 32}))
			r := ringed.TxRing()
			for _, c := range []struct {
				name string
				send func(i int) error
			}{
				{"raw", func(int) error { _, err := raw.Send(data); return err }},
				{"dgram", func(int) error { _, err := dgram.SendTo(data[14:], to); return err }},
				{"ring", func(i int) error { // 32 a call, as a program does it
					put(r, tpacket.V2, uint32(i%32), data)
					if i%32 < 31 {
						return nil
					}
					_, err := ringed.Send(nil)
					return err
				}},
			} {
				b.Run(fmt.Sprintf("%s/%dB/watched=%v", c.name, n, watched), func(b *testing.B) {
					b.ReportAllocs()
					for i := range b.N {
						if err := c.send(i); err != nil {
							b.Fatal(err)
						}
						drain()
					}
				})
			}
		}
	}
}

func BenchmarkDeliverToAGroup(b *testing.B) {
	for _, c := range []struct {
		name   string
		config rxring.FanoutConfig
		hash   uint32
	}{
		{"hash", rxring.FanoutConfig{Mode: rxring.FanoutHash}, 0},
		{"lb", rxring.FanoutConfig{Mode: rxring.FanoutLB}, 0},
		{"lb-defrag", rxring.FanoutConfig{Mode: rxring.FanoutLB, Flags: rxring.FanoutFlagDefrag}, 0},
		{"rollover", rxring.FanoutConfig{Mode: rxring.FanoutRollover}, 0},
		{"hash-rollover", rxring.FanoutConfig{Mode: rxring.FanoutHash, Flags: rxring.FanoutFlagRollover}, 0},
		{"rnd", rxring.FanoutConfig{Mode: rxring.FanoutRnd}, 0},
		{"cbpf", rxring.FanoutConfig{Mode: rxring.FanoutCBPF}, 0},
	} {
		for _, batch := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/batch-%d", c.name, batch), func(b *testing.B) {
				const slots = 4096
				dev, members := fanoutOf(b, 2, slots, c.config)
				if c.config.Mode == rxring.FanoutCBPF {
					rxtest.Must(b, members[0].SetFanoutProgram(rxtest.KeepLen()))
				}
				ps := make([]rxring.Packet, 256)
				for i := range ps {
					ps[i] = rxring.Packet{Data: flowFrame(uint32(i), i%2 == 0), Timestamp: 1}
				}
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i += batch {
					if i%(slots/4) == 0 {
						b.StopTimer()
						for _, m := range members {
							rxtest.Drain(m.reader)
						}
						b.StartTimer()
					}
					if at := i % len(ps); batch == 1 {
						dev.Deliver(&ps[at])
					} else {
						dev.DeliverBatch(ps[at : at+batch])
					}
				}
			})
		}
	}
}
