package iface

import (
	"fmt"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// BenchmarkDrain is a packet's way out of the kernel's ring into one reader's: what
// the kernel does to fill its ring, and the reader to empty his, is not in it.
func BenchmarkDrain(b *testing.B) {
	near, err := kring.New()
	if err != nil {
		need.Skip(b, need.Kernel, "no network namespace: %v", err)
	}
	defer near.Close()
	w := newWire(b, near)
	defer w.close()
	for _, immediate := range []bool{false, true} {
		for _, size := range []int{64, 1500} {
			b.Run(fmt.Sprintf("immediate=%v/bytes=%d", immediate, size), func(b *testing.B) {
				c := Config{Immediate: immediate, Retire: time.Millisecond, Buffer: 256 << 20}
				must(b, c.check(w.dev))
				kernel := c.capture(65536)
				kernel.Protocol = 0x88b5
				d := drain{dev: w.dev, handle: w.kernel(kernel)}
				defer d.handle.Close()
				benchmarkDrain(b, w, &d, append(frame(46), make([]byte, size-64)...))
			})
		}
	}
}

func benchmarkDrain(b *testing.B, w *wire, d *drain, packet []byte) {
	const lap = 1024 // packets, which there is room for in both rings
	s, err := w.dev.Namespace().Socket(rxring.SockRaw, 0)
	must(b, err)
	defer s.Close()
	must(b, s.SetVersion(tpacket.V2))
	must(b, s.SetRxRing(tpacket.Req{BlockSize: 1 << 22, BlockNr: 1, FrameSize: 2048, FrameNr: 1 << 11}))
	r, err := s.NewReader()
	must(b, err)
	must(b, s.BindDevice(w.dev, tpacket.ETHPAll))

	b.SetBytes(int64(len(packet)))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		b.StopTimer()
		n := min(left, lap)
		left -= n
		for range n {
			w.comes(packet)
		}
		filled(b, d.handle, uint64(b.N-left))
		b.StartTimer()
		for n > 0 {
			got := d.queue.fresh(false)
			must(b, d.read(got))
			n -= got.n
			d.deliver(got)
		}
		b.StopTimer()
		for f, ok := r.Next(); ok; f, ok = r.Next() {
			f.Release()
		}
		b.StartTimer()
	}
	b.StopTimer()
	if t := s.Totals(); t.Captured != uint64(b.N) {
		b.Fatalf("%+v of %d packets", t, b.N)
	}
}

// filled waits until the kernel has taken n packets in all, and the last block is
// handed over.
func filled(b *testing.B, h *capture.Handle, n uint64) {
	eventually(b, "the kernel has the packets", func() bool {
		st, err := h.Stats()
		must(b, err)
		return st.Packets >= n
	})
	time.Sleep(3 * time.Millisecond)
}
