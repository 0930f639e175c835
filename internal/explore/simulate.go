//go:build explore

package explore

// Clock says how long steps take, for Simulate. Times are of any unit.
type Clock interface {
	// Begin is called when the party of a core comes to a step, and returns the time of its effect.
	Begin(core int, s Step, at int64) (effect int64)
	// Take is called at that time, before the effect, and returns the time at which the party goes on.
	Take(core int, s Step, at int64) (until int64)
	// Unlock is called when the party has released a lock, and returns the time at which others may
	// acquire it.
	Unlock(core int, l *Lock, at int64) (until int64)
}

// timed is a party of a simulation.
type timed struct {
	*party
	now     int64 // when its next step has its effect
	since   int64 // when it began to wait for a lock
	waiting bool
	holds   *Lock // nil: none
}

// Simulate runs bodies, each on a core of its own, from the time start until all have returned, and
// returns that time. Of all steps it makes that whose effect is first: one interleaving, that of c's times.
// Locks are acquired in the order of arrival.
func Simulate(bodies []func(), c Clock, start int64) (end int64) {
	all := make([]*timed, len(bodies))
	for i, body := range bodies {
		all[i] = &timed{party: newParty("", body), now: start}
		all[i].advance()
		all[i].begin(i, c)
	}
	end = start
	for core := first(all); core >= 0; core = first(all) {
		t := all[core]
		t.waiting = false
		step := t.at
		t.now = c.Take(core, step, t.now)
		t.advance()
		if step.Op == Acquire {
			t.holds = step.Lock
		}
		if t.holds != nil && !t.holds.held {
			t.now = c.Unlock(core, t.holds, t.now)
			wake(all, t.holds, t.now)
			t.holds = nil
		}
		if t.done {
			end = max(end, t.now)
			idle = append(idle, t.party)
		}
		t.begin(core, c)
	}
	return end
}

func (t *timed) begin(core int, c Clock) {
	if !t.done {
		t.now = c.Begin(core, t.at, t.now)
	}
}

// first is the core whose step has its effect first, or -1 if all are done.
func first(all []*timed) int {
	core := -1
	for i, t := range all {
		switch {
		case t.done:
		case t.at.Blocked != nil && t.at.Blocked():
			if !t.waiting {
				t.waiting, t.since = true, t.now
			}
		case core < 0 || t.before(all[core]):
			core = i
		}
	}
	return core
}

func (t *timed) before(other *timed) bool {
	if t.now != other.now {
		return t.now < other.now
	}
	return t.waiting && other.waiting && t.since < other.since
}

// wake lets the parties that wait for l go on at a time, not before.
func wake(all []*timed, l *Lock, at int64) {
	for _, t := range all {
		if t.waiting && t.at.Lock == l {
			t.now = max(t.now, at)
		}
	}
}
