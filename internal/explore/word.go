//go:build explore

package explore

// Word is an atomic.Uint64 whose methods are one step each. What a step returns
// is part of the party's state.
type Word struct{ v uint64 }

func (w *Word) step(op Op, what string, values [2]uint64) {
	Take(Step{What: what, Op: op, Word: w, Values: values})
}

func (w *Word) Load() uint64 {
	w.step(Load, "loads a private word", [2]uint64{})
	Observe(w.v)
	return w.v
}

func (w *Word) Store(v uint64) { w.store(Store, v) }

// Publish is a store with release order, without the full barrier of Store.
func (w *Word) Publish(v uint64) { w.store(Publish, v) }

func (w *Word) store(op Op, v uint64) {
	w.step(op, "stores %v to a private word", [2]uint64{v})
	w.v = v
}

func (w *Word) CompareAndSwap(old, v uint64) bool {
	w.step(Update, "compares a private word with %v, to swap in %v", [2]uint64{old, v})
	if w.v != old {
		Observe(0)
		return false
	}
	Observe(1)
	w.v = v
	return true
}

func (w *Word) Or(v uint64) (old uint64) {
	w.step(Update, "sets %v in a private word", [2]uint64{v})
	old = w.v
	Observe(old)
	w.v |= v
	return old
}

func (w *Word) And(v uint64) (old uint64) {
	w.step(Update, "clears %v in a private word", [2]uint64{^v})
	old = w.v
	Observe(old)
	w.v &= v
	return old
}

// LoadOwn loads a word that no other party stores to meanwhile: no step.
func (w *Word) LoadOwn() uint64 {
	Observe(w.v)
	return w.v
}

// Peek is the word's value, for the harness.
func (w *Word) Peek() uint64 { return w.v }

// Lock is a sync.Mutex whose Lock is one step. What is done under it is not one
// step: parties that need no lock may run in between.
type Lock struct{ held bool }

func (l *Lock) Lock() {
	if running == nil {
		return // the harness, between two steps
	}
	Take(Step{What: "takes the lock", Op: Acquire, Lock: l, Blocked: func() bool { return l.held }})
	l.held = true
}

func (l *Lock) Unlock() {
	if running != nil {
		l.held = false
	}
}

// Held reports whether a party holds the lock, for the harness.
func (l *Lock) Held() bool { return l.held }

// Pause is a step in which a party waits for another one.
func Pause() { Take(Step{What: "waits"}) }
