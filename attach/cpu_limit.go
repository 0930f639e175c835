package attach

import (
	"context"
	"sync"
	"time"
)

// The costly requests of one user may use a fifth of one processor's time, and half a second
// of it in a burst. That is enough for 64 sockets with rings of 32 MiB.
const (
	cpuBurst   = 500 * time.Millisecond
	cpuDivisor = 5
)

// cpuLimit serializes the costly requests of one user and limits the processor time that
// they use. A nil cpuLimit does neither.
type cpuLimit struct {
	sem chan struct{} // has an element while a request is served

	mu   sync.Mutex
	debt time.Duration // of processor time, at that moment:
	at   time.Time
}

func newCPULimit() *cpuLimit { return &cpuLimit{sem: make(chan struct{}, 1)} }

// charge adds a cost, and returns how long to wait before the work is done.
func (l *cpuLimit) charge(now time.Time, cost time.Duration) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if elapsed := now.Sub(l.at); elapsed > 0 {
		l.debt = max(0, l.debt-elapsed/cpuDivisor)
		l.at = now
	}
	l.debt += cost
	return max(0, l.debt-cpuBurst) * cpuDivisor
}

// acquire waits until a request of that cost may be served. It returns false if ctx ends or
// the peer hangs up first; after true, release must be called.
func (l *cpuLimit) acquire(ctx context.Context, cost time.Duration, hasHungUp func() bool) bool {
	if l == nil {
		return true
	}
	const interval = 50 * time.Millisecond // between two calls of hasHungUp
	t := time.NewTicker(interval)
	defer t.Stop()
	for acquired := false; !acquired; {
		select {
		case l.sem <- struct{}{}:
			acquired = true
		case <-ctx.Done():
			return false
		case <-t.C:
			if hasHungUp() {
				return false
			}
		}
	}
	for wait := l.charge(time.Now(), cost); wait > 0; wait -= interval {
		select {
		case <-ctx.Done():
			l.release()
			return false
		case <-time.After(min(wait, interval)):
		}
		if hasHungUp() {
			l.release()
			return false
		}
	}
	return true
}

// release lets the next request of the user be served.
func (l *cpuLimit) release() {
	if l != nil {
		<-l.sem
	}
}
