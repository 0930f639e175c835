package fairshare

import (
	"math"
	"runtime"
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

	savings         = 2   // windows: unused time that can be used later, for a burst
	maxDebt         = 50  // windows: after a second a debt ends, however long a packet took
	idleWindows     = 100 // without use, after which a share is no longer counted
	dilationUnit    = 16
	mostDilation    = 8 * dilationUnit
	dilationWindows = 50 // about so many decide on it

	calmWindows = 40 // after which a suspicion ends
)

// Pool is the time that the writers of one device spend on the sockets of accounts. Its zero
// value works.
type Pool struct {
	ends  atomic.Int64 // of the window: see now
	level atomic.Int64 // what each share may take in it; 0: the pool is new

	// Of suspects, in this window; and the ratio of the two lately, in units.
	wall, thread, dilation atomic.Int64

	// Of windows before, each counted less than the one after it. mu guards them.
	pastWall, pastThread int64

	mu     sync.Mutex // no writer waits for it while a window is closed
	shares []*Share   // that were charged lately
}

// Share is what one account uses of the pool of one device.
//
// It is measured by wall-clock time, which is cheap to read but includes time in which the
// system runs another thread: a reader that was just woken, for example. So a share that
// exceeds its level by wall-clock time is only a suspect. A suspect is measured by its
// thread's processor time, multiplied by the ratio of wall-clock to processor time of all
// suspects: time without a processor must not be free.
type Share struct {
	pool *Pool

	used    atomic.Int64 // nanoseconds in this window, and what is left to pay of windows before it; negative: saved
	suspect atomic.Bool
	over    atomic.Bool // a suspect has taken more than it may
	listed  atomic.Bool // it is one of pool.shares

	// pool.mu guards these.
	before int64 // used when the window began
	idle   int   // windows without use
	calm   int   // windows in which a suspect used little
}

// NewShare returns a share of p.
func NewShare(p *Pool) *Share { return &Share{pool: p} }

var programStarted = time.Now()

// now returns a monotonic time in nanoseconds.
func now() int64 { return int64(time.Since(programStarted)) }

// Exceeded reports whether the share is used up at this moment.
func (s *Share) Exceeded() bool {
	if !s.over.Load() {
		return false
	}
	if t := now(); t >= s.pool.ends.Load() {
		s.pool.nextWindow(t)
	}
	return s.over.Load()
}

// Stopwatch measures the time that a writer spends.
type Stopwatch struct {
	share        *Share
	wall, thread int64
	exact        bool
}

// Start starts a measurement, which the same goroutine must stop.
func (s *Share) Start() Stopwatch {
	w := Stopwatch{share: s, exact: s.suspect.Load()}
	if w.exact {
		runtime.LockOSThread()
		w.thread = threadTime()
	}
	w.wall = now()
	return w
}

// stop returns the present time and the nanoseconds spent.
func (w *Stopwatch) stop() (t, nanoseconds int64) {
	t = now()
	nanoseconds = t - w.wall
	if w.exact {
		thread := max(0, threadTime()-w.thread-threadTimeCost())
		runtime.UnlockOSThread()
		nanoseconds = w.share.pool.dilate(nanoseconds, thread)
	}
	return t, nanoseconds
}

// dilate converts processor time to the wall-clock time that it takes on a busy machine.
func (p *Pool) dilate(wall, thread int64) int64 {
	p.wall.Add(wall)
	p.thread.Add(thread)
	return thread * max(p.dilation.Load(), dilationUnit) / dilationUnit
}

// measureDilationLocked computes the ratio at the end of a window.
//
// A measurement lasts microseconds, and another thread runs for milliseconds: the ratio of one
// window would be arbitrary. So older windows lose weight slowly.
func (p *Pool) measureDilationLocked() {
	p.pastWall += p.wall.Swap(0) - p.pastWall/dilationWindows
	p.pastThread += p.thread.Swap(0) - p.pastThread/dilationWindows
	if p.pastThread > 0 {
		p.dilation.Store(min(p.pastWall*dilationUnit/p.pastThread, mostDilation))
	}
}

// threadTimeCost is what two calls of threadTime add to a measurement, in nanoseconds: more
// than most packets take. A system call may take a microsecond on a virtual machine.
var threadTimeCost = sync.OnceValue(func() int64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	least := int64(math.MaxInt64)
	for range 100 {
		begin := threadTime()
		now()
		now()
		least = min(least, threadTime()-begin)
	}
	return least
})

// charge charges time that writers spent on sockets of the share, until t. exact says that it
// was measured as a suspect's.
func (s *Share) charge(t, nanoseconds int64, exact bool) {
	p := s.pool
	if !s.listed.Load() {
		p.list(s)
	}
	if t >= p.ends.Load() {
		p.nextWindow(t)
	}
	suspect := s.suspect.Load()
	if suspect && !exact || s.used.Add(nanoseconds) < p.level.Load() {
		return
	}
	if suspect {
		s.over.Store(true)
	} else {
		s.used.Store(0)
		s.suspect.Store(true)
	}
}

func (p *Pool) list(s *Share) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.listed.Swap(true) {
		return
	}
	s.idle = 0
	p.shares = append(p.shares, s)
	p.level.CompareAndSwap(0, aloneTime)
}

// nextWindow begins a new window at t if the last one has ended. A writer that finds another
// one doing so continues without.
func (p *Pool) nextWindow(t int64) {
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
	p.shares = slices.DeleteFunc(p.shares, func(s *Share) bool {
		if s.idle++; s.takenLocked() > 0 {
			s.idle = 0
		}
		if s.idle > idleWindows {
			s.listed.Store(false)
			return true
		}
		return false
	})
	p.measureDilationLocked()
	level := fairLevel(p.shares)
	p.level.Store(level)
	for _, s := range p.shares {
		used := s.used.Load()
		s.acquitLocked(level)
		left := min(max(used-windows*level, -savings*level), max(maxDebt-windows+1, 0)*level)
		s.before = left
		used = s.used.Add(left - used) // others add meanwhile
		s.over.Store(used >= level && s.suspect.Load())
	}
}

// takenLocked returns what the share has used in this window.
func (s *Share) takenLocked() int64 { return max(0, s.used.Load()-s.before) }

// acquitLocked ends a suspicion after enough windows with little use.
func (s *Share) acquitLocked(level int64) {
	if !s.suspect.Load() || s.over.Load() || s.takenLocked() > level/4 {
		s.calm = 0
	} else if s.calm++; s.calm > calmWindows {
		s.suspect.Store(false)
	}
}

// fairLevel returns what each share may use in the next window: the level at which the shares
// that used less in the last window, and the others at that level, use the pool's time
// together.
func fairLevel(shares []*Share) int64 {
	if len(shares) <= 1 {
		return aloneTime
	}
	wanted := make([]int64, len(shares))
	for i, s := range shares {
		wanted[i] = s.takenLocked()
		if s.over.Load() {
			wanted[i] = math.MaxInt64 // unknown
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

// ChargeExactly charges time to the share as to one that is measured exactly.
func (s *Share) ChargeExactly(nanoseconds int64) {
	s.suspect.Store(true)
	s.charge(now(), nanoseconds, true)
}

// Forgive cancels what the share has used.
func (s *Share) Forgive() {
	s.used.Store(0)
	s.over.Store(false)
	s.suspect.Store(false)
}
