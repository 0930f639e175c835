package file

import (
	"math"
	"time"
)

// maxDisorder is how far a packet's time may be before the latest one without meaning that the
// clock was set back. Packets of several cards and CPUs are out of order by milliseconds.
const maxDisorder = int64(time.Second)

// pacer computes when packets are due. Every time is relative to the first packet's, so that
// errors do not accumulate.
type pacer struct {
	speed  float64
	start  time.Time // when a packet of the time ref was due
	ref    int64
	latest int64 // the clock's latest time
}

// due returns when a packet of the time ts is due, with now for the first one. When the file's
// clock was set back, time continues from there.
func (p *pacer) due(ts int64, now func() time.Time) time.Time {
	switch {
	case p.start.IsZero():
		p.start, p.ref, p.latest = now(), ts, ts
	case ts > p.latest:
		p.latest = ts
	case p.latest-ts > maxDisorder:
		p.ref -= p.latest - ts
		p.latest = ts
	}
	after := float64(ts-p.ref) / p.speed
	if after >= math.MaxInt64 {
		return p.start.Add(math.MaxInt64)
	}
	return p.start.Add(time.Duration(after))
}

// held delays all later packets by the time that was lost.
func (p *pacer) held(d time.Duration) {
	if !p.start.IsZero() {
		p.start = p.start.Add(d)
	}
}
