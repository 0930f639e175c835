package clock

import (
	"testing"
	"time"
)

func BenchmarkNow(b *testing.B) {
	b.Run("counter", func(b *testing.B) {
		for b.Loop() {
			Now()
		}
	})
	b.Run("counter, new anchor each time", func(b *testing.B) {
		for b.Loop() {
			system.read()
		}
	})
	b.Run("fallback", func(b *testing.B) {
		rate, unused := system.rate.Swap(0), system.unused.Swap(true)
		defer func() {
			system.unused.Store(unused)
			system.rate.Store(rate)
		}()
		for b.Loop() {
			Now()
		}
	})
	b.Run("time.Now", func(b *testing.B) {
		for b.Loop() {
			time.Now().UnixNano()
		}
	})
	b.Run("bare counter", func(b *testing.B) {
		for b.Loop() {
			counter()
		}
	})
}
