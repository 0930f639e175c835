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

	savings         = 2   // windows: who took less may take so much more later, to catch up with a burst
	maxDebt         = 50  // windows: after a second a share is paid, however long a packet took
	idleWindows     = 100 // after so many without use a share is not counted any more
	dilationUnit    = 16
	mostDilation    = 8 * dilationUnit
	dilationWindows = 50 // about so many decide on it

	calmWindows = 40 // after so many a suspect is none any more
)

// Pool is the time that the writers of one device spend on the sockets of accounts.
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

// Share is what one account takes of the pool of one device.
//
// It is measured by the clock on the wall, which is cheap to read. But that goes on when the
// system lets another thread run in the middle: the reader that was just woken, say. So who
// takes more than it may by that clock is a suspect only. A suspect is measured by what the
// thread had of a processor, and that is multiplied by how much longer than that suspects take
// by the clock on the wall altogether: who uses nothing of a processor is no reason for that.
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

// now is a clock that does not jump, in nanoseconds.
func now() int64 { return int64(time.Since(programStarted)) }

// Exceeded reports whether the share has taken more than it may, at this moment.
func (s *Share) Exceeded() bool {
	if !s.over.Load() {
		return false
	}
	if t := now(); t >= s.pool.ends.Load() {
		s.pool.nextWindow(t)
	}
	return s.over.Load()
}

// Stopwatch measures what a writer spends.
type Stopwatch struct {
	share        *Share
	wall, thread int64
	exact        bool
}

// Start starts measuring. stop is to be called by the same goroutine.
func (s *Share) Start() Stopwatch {
	w := Stopwatch{share: s, exact: s.suspect.Load()}
	if w.exact {
		runtime.LockOSThread()
		w.thread = threadTime()
	}
	w.wall = now()
	return w
}

// stop returns what has been spent, and when that is.
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

// dilate is what so much of a processor's time stands for by the clock on the wall: on a busy
// machine it is longer for everything that writers do.
func (p *Pool) dilate(wall, thread int64) int64 {
	p.wall.Add(wall)
	p.thread.Add(thread)
	return thread * max(p.dilation.Load(), dilationUnit) / dilationUnit
}

// measureDilation is for a window that ends. mu is held.
//
// What is measured lasts microseconds, and another thread runs for milliseconds: of one window
// the ratio would be anything. So windows are forgotten slowly.
func (p *Pool) measureDilation() {
	p.pastWall += p.wall.Swap(0) - p.pastWall/dilationWindows
	p.pastThread += p.thread.Swap(0) - p.pastThread/dilationWindows
	if p.pastThread > 0 {
		p.dilation.Store(min(p.pastWall*dilationUnit/p.pastThread, mostDilation))
	}
}

// threadTimeCost is what threadTime adds to itself, in nanoseconds, when it is called twice:
// more than most packets take. A system call may take a microsecond on a virtual machine.
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

// charge notes that writers spent so many nanoseconds on sockets of the share, until t. It is
// exact if it was measured as that of a suspect.
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

// nextWindow begins a new window at t, if the last one has ended. Who finds another writer
// at it goes on without.
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
		if s.idle++; s.taken() > 0 {
			s.idle = 0
		}
		if s.idle > idleWindows {
			s.listed.Store(false)
			return true
		}
		return false
	})
	p.measureDilation()
	level := fairLevel(p.shares)
	p.level.Store(level)
	for _, s := range p.shares {
		used := s.used.Load()
		s.acquit(level)
		left := min(max(used-windows*level, -savings*level), max(maxDebt-windows+1, 0)*level)
		s.before = left
		used = s.used.Add(left - used) // others add meanwhile
		s.over.Store(used >= level && s.suspect.Load())
	}
}

// taken is what the share has taken in this window. pool.mu is held.
func (s *Share) taken() int64 { return max(0, s.used.Load()-s.before) }

// acquit ends a suspicion after enough windows in which little was used. pool.mu is held.
func (s *Share) acquit(level int64) {
	if !s.suspect.Load() || s.over.Load() || s.taken() > level/4 {
		s.calm = 0
	} else if s.calm++; s.calm > calmWindows {
		s.suspect.Store(false)
	}
}

// fairLevel is what each of the shares may take in the next window: so much that those who
// take less than it in the last one, and the others with it, take the pool's time together.
func fairLevel(shares []*Share) int64 {
	if len(shares) <= 1 {
		return aloneTime
	}
	wanted := make([]int64, len(shares))
	for i, s := range shares {
		wanted[i] = s.taken()
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
