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
	b.Run("fallback", func(b *testing.B) {
		var r realtime
		r.init(false)
		for b.Loop() {
			r.read()
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
