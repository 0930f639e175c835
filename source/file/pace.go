package file

import (
	"math"
	"time"
)

// maxDisorder is how far a packet's time may lie before the latest one's and still
// be of the same clock. Packets of several cards and CPUs come in disorder of
// milliseconds; a clock that is set back goes back further.
const maxDisorder = int64(time.Second)

// pacer says when packets are due. Every time is counted from the first packet's,
// so that no error adds up.
type pacer struct {
	speed  float64
	start  time.Time // when a packet of the time ref was due
	ref    int64
	latest int64 // the clock's latest time
}

// due is when a packet of the time ts is due, with now for the first one. Where the
// clock of the file was set back, time goes on from there.
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

// held moves what is to come by the time that was lost.
func (p *pacer) held(d time.Duration) {
	if !p.start.IsZero() {
		p.start = p.start.Add(d)
	}
}
