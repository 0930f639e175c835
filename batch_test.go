package rxring_test

import (
	"bytes"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// numbered is an IPv4 packet with a number in its last byte.
func numbered(n int) []byte {
	return append([]byte{0x45, 0, 0, 21, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}, byte(n))
}

func TestABatchDeliversItsPacketsInOrder(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP})
	_, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 256, FrameNr: 256})

	for _, packets := range []int{0, 1, 31, 32, 33, 128} {
		// The same batch is reused, so that what the packets before it had would show.
		b := dev.Batch()
		for i := range packets {
			p := b.Next()
			if i%2 == 0 {
				p.Outgoing, p.VLAN = true, rxring.VLAN{TPID: tpacket.ETHP8021Q, TCI: 7}
			}
			whole := numbered(i)
			if i%3 == 0 {
				p.Data = whole
				continue
			}
			for len(whole) > 0 { // a growing number of pieces, among them empty ones
				n := min(len(whole), 1+len(whole)/(1+i%8))
				b.AddPiece(nil)
				b.AddPiece(whole[:n])
				whole = whole[n:]
			}
		}
		b.Deliver()
		for i := range packets {
			f := rxtest.Next(t, rd)
			outgoing := f.From.Pkttype == tpacket.PacketOutgoing
			if want := i%2 == 0; !bytes.Equal(f.Data, numbered(i)) || outgoing != want || (f.VLANTCI == 7) != want {
				t.Errorf("packet %d of %d: % x, outgoing %v, VLAN %d", i, packets, f.Data, outgoing, f.VLANTCI)
			}
			f.Release()
		}
		if _, ok := rd.Next(); ok {
			t.Errorf("more than the %d packets of the batch", packets)
		}
	}
}

func TestABatchReportsPacketsWithoutAHeader(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	b := dev.Batch()
	b.Next()
	b.AddPiece(nil)
	b.Next().Data = rxtest.Frame(60)
	b.Deliver()
	if totals := s.Totals(); dev.Malformed() != 1 || totals.Captured != 1 || totals.Drops.Sum() != 1 {
		t.Errorf("%d malformed, %+v; want 1 malformed, captured and dropped", dev.Malformed(), totals)
	}
}

func TestADeviceWithoutSocketsHasNoBatch(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	if b := dev.Batch(); b != nil {
		t.Error("a batch for a device without a socket")
	}
	s, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	b := dev.Batch()
	if b == nil {
		t.Fatal("no batch for a device with a socket")
	}
	b.Next().Data = rxtest.Frame(60)
	rxtest.Must(t, s.Close())
	b.Deliver() // to none: the socket is closed
}

// BenchmarkBatch adds and delivers the packets of one call of a tunnel; times are per packet.
func BenchmarkBatch(b *testing.B) {
	const packets = 128 // a call
	data := rxtest.Frame(64)
	add := func(dev *rxring.Device, pieces int) {
		batch := dev.Batch()
		if batch == nil {
			return
		}
		for range packets {
			p := batch.Next()
			p.Outgoing, p.Timestamp = true, 1
			if pieces == 1 {
				p.Data = data
				continue
			}
			batch.AddPiece(data[:14])
			batch.AddPiece(data[14:])
		}
		batch.Deliver()
	}
	b.Run("unwatched", func(b *testing.B) {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(b, ns, rxring.DeviceConfig{Name: "net0"})
		b.ReportAllocs()
		for i := 0; i < b.N; i += packets {
			add(dev, 1)
		}
	})
	for name, pieces := range map[string]int{"64B": 1, "64B-in-two-pieces": 2} {
		b.Run(name, func(b *testing.B) {
			dev, _, rd := benchRing(b, 256, nil)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += packets {
				if i%4096 == 0 {
					b.StopTimer()
					rxtest.Drain(rd)
					b.StartTimer()
				}
				add(dev, pieces)
			}
		})
	}
}
