package fleet

import "time"

// pace measures time in periods during which this process ran. A period that ends late does not
// count: the process was stalled, by load or by SIGSTOP, and messages that arrived meanwhile are
// still in its queues. So a stall here ends no lease, and is no silence of a host.
type pace struct {
	period time.Duration
	last   time.Time // end of the last period
}

// counts reports whether the period that ends now counts.
func (p *pace) counts(now time.Time) bool {
	took := now.Sub(p.last)
	p.last = now
	return took <= p.period+p.period/2
}
