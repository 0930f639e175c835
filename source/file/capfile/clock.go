package capfile

import (
	"math"
	"math/bits"
)

// clock converts an interface's times to nanoseconds since the Unix epoch.
type clock struct {
	binary   bool  // units are of 2^-exponent seconds, or of 10^-exponent
	exponent uint8 // 0 to 127
	offset   int64 // seconds to add
}

func newClock(resolution uint8, offset int64) clock {
	return clock{resolution&0x80 != 0, resolution & 0x7f, offset}
}

// maxSeconds is the most that fit in an int64 of nanoseconds, 292 years.
const maxSeconds = math.MaxInt64/1_000_000_000 - 1

// nanoseconds are cut off, not rounded. Times that an int64 cannot hold become the
// nearest ones.
func (c clock) nanoseconds(t uint64) int64 {
	if c == (clock{exponent: 9}) && t <= maxSeconds*1e9 {
		return int64(t)
	}
	sec, ns := t, uint64(0)
	switch {
	case c.binary && c.exponent < 64:
		sec = t >> c.exponent
		hi, lo := bits.Mul64(t-sec<<c.exponent, 1e9)
		ns = hi<<(64-c.exponent) | lo>>c.exponent
	case c.binary:
		hi, _ := bits.Mul64(t, 1e9)
		sec, ns = 0, hi>>(c.exponent-64)
	case c.exponent <= 9:
		unit := pow10(c.exponent)
		sec = t / unit
		ns = t % unit * (1e9 / unit)
	case c.exponent <= maxPow10:
		unit := pow10(c.exponent)
		sec = t / unit
		ns = t % unit / pow10(c.exponent-9)
	default:
		sec, ns = 0, 0
		if c.exponent-9 <= maxPow10 {
			ns = t / pow10(c.exponent-9)
		}
	}
	s := int64(min(sec, 1<<62)) // so that the sum cannot overflow
	s += max(min(c.offset, 1<<62-1), -1<<62)
	switch {
	case s > maxSeconds:
		return math.MaxInt64
	case s < -maxSeconds:
		return math.MinInt64
	}
	return s*1e9 + int64(ns)
}

// maxPow10 is the largest power of ten in 64 bits.
const maxPow10 = 19

func pow10(n uint8) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}
