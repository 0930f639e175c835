//go:build !explore

package writer

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/tpacket"
)

// processorTime is what this process has used.
func processorTime(t testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIdleBlocks is what rings without traffic cost, all that a user may have by
// default: a millisecond of wall-clock time an operation.
func BenchmarkIdleBlocks(b *testing.B) {
	for range 64 {
		g := tpacket.Geometry{Version: tpacket.V3, BlockSize: 4096, BlockNr: 2}
		r, err := NewBlocks(ringmem.NewHeap(g.Size()), g, BlocksConfig{Retire: time.Millisecond})
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
	}
	time.Sleep(100 * time.Millisecond)
	b.ResetTimer()
	before := processorTime(b)
	start := time.Now()
	time.Sleep(time.Duration(b.N) * time.Millisecond)
	b.ReportMetric(100*float64(processorTime(b)-before)/float64(time.Since(start)), "%processor")
}
