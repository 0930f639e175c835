package fleet_test

import (
	"testing"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/fleet"
)

// BenchmarkLatency measures the time from a packet's delivery on the host to its arrival at a
// capture here: of a packet after silence, and of one that follows another, whose batch has been published.
func BenchmarkLatency(b *testing.B) {
	const (
		silence = 100 * time.Millisecond // longer than a batch waits for more packets
		gap     = 15 * time.Millisecond  // shorter, but longer than a packet is in the ring
	)
	for _, c := range []struct {
		name   string
		before int // packets
	}{{"after-silence", 0}, {"after-another", 1}} {
		b.Run(c.name, func(b *testing.B) {
			s := newScene(b, eth0, fleet.ShipConfig{}, fleet.ReaderConfig{})
			h := open(b, s.reader.dev, capture.Config{Retire: time.Millisecond})
			var total time.Duration
			for range b.N {
				time.Sleep(silence)
				send(s.far, 0, c.before)
				time.Sleep(gap)
				begin := time.Now()
				send(s.far, c.before, c.before+1)
				for range c.before + 1 {
					if _, err := h.Next(soon(b)); err != nil {
						b.Fatal(err)
					}
				}
				total += time.Since(begin)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), "ms/packet")
		})
	}
}
