//go:build explore

package explore

import "iter"

// party is one of the explored parties, a coroutine of the scheduler.
type party struct {
	name string
	done bool
	seen uint64 // hash of all it has read: with its program, its whole state

	next     func() (Step, bool)
	yield    func(Step) bool
	body     func()
	aborting bool
	at       Step   // what it does when it goes next
	base     uint64 // seen at the start of the call that it is in
	choice   int    // what the scheduler chose, for a step with choices
}

// Step is what a party is about to do.
type Step struct {
	What    string      // a format for Args: written out in traces only
	Args    [2]any      // the first that is nil ends them
	Op      Op          // how it accesses memory
	Word    *Word       // that it is about; nil: about none
	Lock    *Lock       // that it acquires; nil: none
	Values  [2]uint64   // of Word, for the verbs of What, if Word is not nil
	Blocked func() bool // not nil: the step cannot be taken while it is true
	Choices int         // 0: one way to take it
}

// Op is how a step accesses memory. [Simulate] needs it, the search does not.
type Op uint8

const (
	Other   Op = iota
	Load       // an acquire
	Publish    // a store with release order
	Store      // a store and a full barrier
	Update     // a read-modify-write, which is a full barrier too
	Acquire    // of a lock
)

// running is the party that has control; nil: steps are not scheduled.
var running *party

// abort unwinds a party that is not wanted any more.
type abort struct{}

// idle are coroutines without a body. A search makes millions of parties: a coroutine that was
// used before has a stack of the right size.
var idle []*party

func newParty(name string, body func()) *party {
	var p *party
	if n := len(idle); n > 0 {
		p, idle = idle[n-1], idle[:n-1]
		*p = party{next: p.next, yield: p.yield}
	} else {
		p = &party{}
		p.next, _ = iter.Pull(p.loop)
	}
	p.name, p.body = name, body
	return p
}

// loop runs one body after the other.
func (p *party) loop(yield func(Step) bool) {
	p.yield = yield
	for {
		p.run()
		p.done = true
		yield(Step{})
	}
}

func (p *party) run() {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(abort); !ok {
				panic(r)
			}
		}
	}()
	p.body()
}

// advance runs p through the step that it is at, up to its next one.
func (p *party) advance() {
	previous := running
	running = p
	p.at, _ = p.next()
	running = previous
}

// stop unwinds p. Its coroutine can be used again.
func (p *party) stop() {
	if !p.done {
		p.aborting = true
		p.next()
	}
	idle = append(idle, p)
}

// Take hands control to the scheduler. It returns when the scheduler takes the
// step. Without a running party it does nothing.
func Take(s Step) {
	p := running
	if p == nil {
		return
	}
	if p.yield(s); p.aborting {
		panic(abort{})
	}
	p.seen = Mix(p.seen, 1) // it is one step further on
}

// Running reports whether a party runs: whether steps are scheduled.
func Running() bool { return running != nil }

// RunningName is the name of the party that runs.
func RunningName() string { return running.name }

// Choice is what the scheduler chose for the running party's latest step.
func Choice() int { return running.choice }

// Observe makes v part of the running party's state.
func Observe(v uint64) {
	if p := running; p != nil {
		p.seen = Mix(p.seen, v)
	}
}

// Remember makes v all that the running party remembers.
func Remember(v int) {
	running.seen, running.base = uint64(v), Mix(uint64(v), 7)
}

// Again forgets what the running party has read in the rounds of a loop before
// this one, but for the round's number.
func Again(round int) {
	if p := running; p != nil {
		p.seen = Mix(p.base, uint64(round))
	}
}

// Unscheduled runs f, whose accesses are no steps.
func Unscheduled(f func()) {
	previous := running
	running = nil
	defer func() { running = previous }()
	f()
}

// Mix hashes v into h.
func Mix(h, v uint64) uint64 {
	h ^= v + 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	return h
}
