//go:build explore

package ring

import (
	"fmt"
	"iter"
	"time"

	"github.com/rxring/rxring/tpacket"
)

// Under the build tag explore, the writers' own functions run as coroutines of
// a scheduler: each step on memory that somebody else may touch hands control
// to it, and it decides who goes next. What runs between two steps touches
// nothing shared. explore_test.go tries every decision.

const exploring = true

// waitBound is small: each look is a step, and one look that finds nothing new
// stands for a thousand.
const waitBound = 1

// coroutine is one of the explored parties: a writer or the reader.
type coroutine struct {
	name   string
	next   func() (step, bool)
	stop   func()
	yield  func(step) bool
	at     step // what it does when it goes next
	done   bool
	seen   uint64 // hash of all it has read: with its program, its whole state
	base   uint64 // seen at the start of the call that it is in
	choice int    // what the scheduler chose, for a step with choices
}

// step is what a party is about to do.
type step struct {
	what    string // a format for args: written out in traces only
	word    *word  // that it is about, if any
	args    []any
	blocked func() bool // not nil: the step cannot be taken while it is true
	choices int         // 0: one way to take it
}

// running is the party that has control; nil: nobody is explored.
var running *coroutine

// abort unwinds a party that is not wanted any more.
type abort struct{}

func newCoroutine(name string, body func()) *coroutine {
	c := &coroutine{name: name}
	c.next, c.stop = iter.Pull(func(yield func(step) bool) {
		c.yield = yield
		defer func() {
			if p := recover(); p != nil {
				if _, ok := p.(abort); !ok {
					panic(p)
				}
			}
		}()
		body()
	})
	return c
}

// advance lets c take the step that it is at and run on to its next one.
func (c *coroutine) advance() {
	previous := running
	running = c
	var ok bool
	c.at, ok = c.next()
	c.done = !ok
	running = previous
}

// take hands control to the scheduler and, when it comes back, takes the step.
func take(s step) {
	c := running
	if c == nil {
		return
	}
	if !c.yield(s) {
		panic(abort{})
	}
	c.seen = mix(c.seen, 1) // it is one step further on
}

// observe makes v part of the running party's state.
func observe(v uint64) {
	if c := running; c != nil {
		c.seen = mix(c.seen, v)
	}
}

func mix(h, v uint64) uint64 {
	h ^= v + 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	return h
}

// word is an atomic.Uint64 whose methods are one step each.
type word struct{ v uint64 }

// do takes one step. What it tells its party is part of the party's state.
func (w *word) do(what string, args ...any) { take(step{what: what, word: w, args: args}) }

func (w *word) Load() uint64 {
	w.do("loads a private word")
	observe(w.v)
	return w.v
}

func (w *word) Store(v uint64) {
	w.do("stores %v to a private word", v)
	w.v = v
}

func (w *word) CompareAndSwap(old, v uint64) bool {
	w.do("compares a private word with %v, to swap in %v", old, v)
	if w.v != old {
		observe(0)
		return false
	}
	observe(1)
	w.v = v
	return true
}

func (w *word) Or(v uint64) (old uint64) {
	w.do("sets %v in a private word", v)
	old = w.v
	observe(old)
	w.v |= v
	return old
}

func (w *word) And(v uint64) (old uint64) {
	w.do("clears %v in a private word", ^v)
	old = w.v
	observe(old)
	w.v &= v
	return old
}

// loadOwn is no step: nobody else can change what it loads.
func loadOwn(w *word) uint64 {
	observe(w.v)
	return w.v
}

// again forgets what the rounds before have read.
func again(round int) {
	if c := running; c != nil {
		c.seen = mix(c.base, uint64(round))
	}
}

// remember makes v all that c remembers.
func (c *coroutine) remember(v int) { c.seen, c.base = uint64(v), mix(uint64(v), 7) }

// lock is a sync.Mutex whose Lock is one step. What is done under it is not one
// step: others who need no lock may go in between.
type lock struct{ held bool }

func (l *lock) Lock() {
	if running == nil {
		return // the harness looks, between two steps
	}
	take(step{what: "takes the lock", blocked: func() bool { return l.held }})
	l.held = true
}

func (l *lock) Unlock() {
	if running != nil {
		l.held = false
	}
}

// pause is a step, so that the one waited for can go.
func pause() { take(step{what: "waits"}) }

// now stands still: time is no part of the state.
func now() time.Time { return time.Time{} }

// onStore, when set, is told of a store to a status word as it happens.
var onStore func(slot, status uint32)

func stepLoad(r *Ring, k stepKind, slot uint32) {
	if running == nil {
		return
	}
	take(step{what: "loads the %v of slot %d", args: []any{k, slot}})
	h := r.Frame(slot)
	observe(uint64(h[0]) | uint64(h[2])<<8 | uint64(h[28])<<16) // status bits 0 to 7 and 16 to 23, mark
}

func stepStore(_ *Ring, k stepKind, slot, v uint32) {
	if running == nil {
		return
	}
	take(step{what: "stores %v to slot %d", args: []any{stored{k, v}, slot}})
	if k == stepStatus && onStore != nil {
		onStore(slot, v)
	}
}

func stepBlockLoad(b *Blocks, block uint32) {
	if running == nil {
		return
	}
	take(step{what: "loads the status of block %d", args: []any{block}})
	observe(uint64(b.desc(block).Status))
}

func stepBlockStore(_ *Blocks, block, status uint32) {
	if running == nil {
		return
	}
	take(step{what: "stores %v to block %d", args: []any{stored{stepStatus, status}, block}})
	if onStore != nil {
		onStore(block, status)
	}
}

func (k stepKind) String() string {
	if k == stepMark {
		return "mark"
	}
	return "status"
}

// stored is a value stored to shared memory, for traces.
type stored struct {
	kind stepKind
	v    uint32
}

func (s stored) String() string {
	if s.kind == stepStatus {
		switch s.v {
		case tpacket.StatusKernel:
			return "KERNEL"
		case tpacket.StatusUser:
			return "USER"
		case StatusKernelOwned:
			return "KERNEL_OWNED"
		}
	}
	return fmt.Sprintf("%v %#x", s.kind, s.v)
}
