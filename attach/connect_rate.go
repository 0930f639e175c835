package attach

import "time"

// bucket is a token bucket: it bounds how often something happens. The zero value is full.
type bucket struct {
	missing float64 // tokens
	at      time.Time
}

// take takes a token, if there is one, of a bucket that holds burst tokens and gets rate
// new ones a second.
func (b *bucket) take(now time.Time, rate, burst float64) bool {
	if b.missing > 0 {
		b.missing = max(0, b.missing-rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.missing > burst-1 {
		return false
	}
	b.missing++
	return true
}
