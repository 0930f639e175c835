package clock

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Now returns CLOCK_REALTIME in nanoseconds since the Unix epoch. Any number of goroutines may
// call it.
func Now() int64 {
	if rate := system.rate.Load(); rate != 0 {
		if t, ok := system.at(counter(), rate); ok {
			return t
		}
	}
	if system.unused.Load() {
		return time.Now().UnixNano()
	}
	return system.read()
}

// realtime derives CLOCK_REALTIME from a counter:
//
//	uptime = counter × rate
//	time   = uptime + offset, while |uptime − anchor| < window
type realtime struct {
	_      [64]byte      // the words below have a cache line to themselves
	rate   atomic.Uint64 // nanoseconds per tick, times 2^32; 0: not calibrated, or not used
	begin  atomic.Uint64 // anchor − window; 0: there is none; or changing
	offset atomic.Int64  // of the anchor
	_      [40]byte

	unused atomic.Bool // each reading is one of the system's clock
	ticks  func() uint64
	system func() (wall, mono int64)

	mu       sync.Mutex // guards what follows, and stores to what precedes; never waited for
	first    reading    // of the baseline that calibrates
	proposed uint64     // the rate by the baseline before
	distrust int
}

// Nanoseconds.
const (
	window = 8192 // of an anchor, before and after it
	// maxGap is how long the reading of an anchor may take, the counter twice and the system's
	// clock between: half of it is the anchor's error.
	maxGap = 512
	// changing is no anchor's begin: no uptime is 292 years.
	changing = 1 << 63
)

// at returns the time at which the counter had the value ticks; false: no anchor is that close.
func (r *realtime) at(ticks, rate uint64) (t int64, ok bool) {
	uptime := scale(ticks, rate)
	begin := r.begin.Load()
	t = int64(uptime) + r.offset.Load()
	return t, uptime-begin < 2*window && begin == r.begin.Load()
}

func scale(ticks, rate uint64) uint64 {
	hi, lo := bits.Mul64(ticks, rate)
	return hi<<32 | lo>>32
}
