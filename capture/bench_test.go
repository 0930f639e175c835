package capture_test

import (
	"context"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/ring"
)

// BenchmarkRead reads packets of 64 bytes that are all in a ring larger than the processor's
// caches. It ignores the time in which they are written.
func BenchmarkRead(b *testing.B) {
	const (
		packets = 1_000_000
		slot    = 256 // V2: bytes of each packet in the ring, with its headers
		retire  = 10 * time.Millisecond
	)
	for _, c := range []struct {
		name   string
		config capture.Config
		batch  int // 0: one by one
	}{
		{"V3", capture.Config{Buffer: packets*160 + 32<<20, Retire: retire}, 0},
		{"V3/batches of 32", capture.Config{Buffer: packets*160 + 32<<20, Retire: retire}, 32},
		{"V2", capture.Config{Immediate: true, Snaplen: slot - 128, Buffer: packets*slot + 1<<20}, 0},
		{"V2/batches of 32", capture.Config{Immediate: true, Snaplen: slot - 128, Buffer: packets*slot + 1<<20}, 32},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newOurs(b)
			h := w.open(b, c.config)
			p := rxring.Packet{Data: make([]byte, 64), Timestamp: 1}
			frames := make([]ring.Frame, c.batch)
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; left -= packets {
				b.StopTimer()
				n := min(left, packets)
				for range n {
					w.dev.Deliver(&p)
				}
				time.Sleep(2 * retire) // the last block is retired
				b.StartTimer()
				read, err := readSome(h, n, frames)
				if err != nil || read != 64*n {
					b.Fatalf("%d packets: %d bytes, %v: want %d", n, read, err, 64*n)
				}
			}
		})
	}
}

// readSome reads n packets, in batches unless frames is empty, and returns how many bytes they have.
func readSome(h *capture.Handle, n int, frames []ring.Frame) (bytes int, err error) {
	ctx := context.Background()
	if len(frames) == 0 {
		for p, err := range h.Packets(ctx) {
			if err != nil {
				return bytes, err
			}
			bytes += len(p.Data)
			if n--; n == 0 {
				break
			}
		}
		return bytes, nil
	}
	for n > 0 {
		got, err := h.ReadBatch(ctx, frames[:min(n, len(frames))])
		if err != nil {
			return bytes, err
		}
		for i := range frames[:got] {
			bytes += len(frames[i].Data)
		}
		ring.ReleaseBatch(frames[:got])
		n -= got
	}
	return bytes, nil
}
