package rxring_test

import (
	"fmt"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

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
