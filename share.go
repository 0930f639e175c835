package rxring

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How the time of a device's writers is divided among accounts, in nanoseconds a window.
const (
	shareWindow = int64(20 * time.Millisecond)
	poolTime    = shareWindow / 2     // all accounts together
	mostTime    = shareWindow / 4     // one of several accounts
	aloneTime   = shareWindow * 3 / 4 // the only account

	maxDebt     = 50  // windows: after a second a share is paid, however long a packet took
	idleWindows = 100 // after so many without use a share is not counted any more
)

// pool is the time that the writers of one device spend on the sockets of accounts.
type pool struct {
	ends  atomic.Int64 // of the window: see now
	level atomic.Int64 // what each share may take in it; 0: the pool is new

	mu     sync.Mutex // no writer waits for it while a window is closed
	shares []*share   // that were charged lately
}

// share is what one account takes of the pool of one device.
type share struct {
	account *Account
	ifindex int32
	pool    *pool

	used   atomic.Int64 // nanoseconds in this window, and what is left to pay of windows before it
	over   atomic.Bool  // it has taken more than it may
	listed atomic.Bool  // it is one of pool.shares
	idle   int          // windows without use; pool.mu guards it
}

var programStarted = time.Now()

// now is a clock that does not jump, in nanoseconds.
func now() int64 { return int64(time.Since(programStarted)) }

// exceeded reports whether the share has taken more than it may, at this moment.
func (s *share) exceeded() bool {
	if !s.over.Load() {
		return false
	}
	if t := now(); t >= s.pool.ends.Load() {
		s.pool.nextWindow(t)
	}
	return s.over.Load()
}

// charge notes that writers spent so many nanoseconds on sockets of the share, until t.
func (s *share) charge(t, nanoseconds int64) {
	p := s.pool
	if !s.listed.Load() {
		p.list(s)
	}
	if t >= p.ends.Load() {
		p.nextWindow(t)
	}
	if s.used.Add(nanoseconds) >= p.level.Load() {
		s.over.Store(true)
	}
}

func (p *pool) list(s *share) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.listed.Swap(true) {
		return
	}
	s.idle = 0
	p.shares = append(p.shares, s)
	p.level.CompareAndSwap(0, aloneTime)
}

// nextWindow begins a new window at t, if the last one has ended. Who finds another writer
// at it goes on without.
func (p *pool) nextWindow(t int64) {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	ended := p.ends.Load()
	if t < ended {
		return
	}
	windows := 1 + (t-ended)/shareWindow
	p.ends.Store(t + shareWindow)
	p.shares = slices.DeleteFunc(p.shares, func(s *share) bool {
		if s.idle++; s.used.Load() > 0 {
			s.idle = 0
		}
		if s.idle > idleWindows {
			s.listed.Store(false)
			return true
		}
		return false
	})
	level := fairLevel(p.shares)
	p.level.Store(level)
	for _, s := range p.shares {
		used := s.used.Load()
		left := min(max(used-windows*level, 0), max(maxDebt-windows+1, 0)*level)
		s.over.Store(s.used.Add(left-used) >= level) // others add meanwhile
	}
}

// fairLevel is what each of the shares may take in the next window: so much that those who
// take less than it in the last one, and the others with it, take the pool's time together.
func fairLevel(shares []*share) int64 {
	if len(shares) <= 1 {
		return aloneTime
	}
	wanted := make([]int64, len(shares))
	for i, s := range shares {
		wanted[i] = s.used.Load()
		if s.over.Load() {
			wanted[i] = math.MaxInt64 // nobody knows
		}
	}
	slices.Sort(wanted)
	left := poolTime
	for i, w := range wanted {
		fair := left / int64(len(wanted)-i)
		if w > fair {
			return min(fair, mostTime)
		}
		left -= w
	}
	return mostTime
}
