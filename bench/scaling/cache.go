package scaling

// Time is in picoseconds, so that sums are exact.
type Time = int64

const nanosecond Time = 1000

func ns(v float64) Time { return Time(v * float64(nanosecond)) }

// Machine is what the simulated processor's accesses to memory cost.
type Machine struct {
	Hit    Time // a load of a line in the core's own cache
	Store  Time // a store, until it is in the store buffer
	Locked Time // a locked instruction on a line in the core's own cache
	Near   Time // a line from a core of the same domain
	Far    Time // a line from another domain
	Domain int  // cores that share a last-level cache
}

// line is a cache line. No core has it at first: the first access finds it where the hardware's
// prefetcher has brought it, in the core's own cache.
type line struct {
	owner   int    // the core that has stored to it last
	holders []bool // the cores that have a valid copy; nil: none has
	free    Time   // when it can be moved again
}

// caches are the cores' caches: which core has which line. A line moves to one core at a time.
type caches struct {
	machine *Machine
	place   []int // of each core: domains are Domain places in a row
	lines   map[uintptr]*line
	drained []Time // of each core: when its store buffer is empty
}

func newCaches(m *Machine, place []int) *caches {
	return &caches{machine: m, place: place, lines: make(map[uintptr]*line), drained: make([]Time, len(place))}
}

// transfer is the time of a line from one core to another.
func (c *caches) transfer(from, to int) Time {
	if c.place[from]/c.machine.Domain == c.place[to]/c.machine.Domain {
		return c.machine.Near
	}
	return c.machine.Far
}

func (c *caches) line(at uintptr) *line {
	l := c.lines[at]
	if l == nil {
		l = &line{}
		c.lines[at] = l
	}
	return l
}

// request returns when a core's request for a line has reached the core that has it, half a transfer after
// now. That core has the line until then. With alone, the core must be the only one to have it.
func (c *caches) request(core int, at uintptr, alone bool, now Time) Time {
	return now + c.away(core, c.line(at), alone)/2
}

// away is how far from core the line is: the slowest of the cores counts that lose it.
func (c *caches) away(core int, l *line, alone bool) (wait Time) {
	switch {
	case l.holders == nil || !alone && l.holders[core]:
		return 0
	case !alone:
		return c.transfer(l.owner, core)
	}
	for holder, has := range l.holders {
		if has && holder != core {
			wait = max(wait, c.transfer(holder, core))
		}
	}
	return wait
}

// move returns when the line has arrived at core, whose request was made before. It moves when it has
// arrived where it was sent to before.
func (c *caches) move(core int, at uintptr, alone bool, now Time) Time {
	l := c.line(at)
	wait := c.away(core, l, alone)
	if l.holders == nil {
		l.holders, l.owner = make([]bool, len(c.place)), core
	}
	if alone {
		clear(l.holders)
		l.owner = core
	}
	l.holders[core] = true
	if wait == 0 {
		return now
	}
	l.free = max(now, l.free) + wait/2
	return l.free
}

// load returns when core has loaded the line.
func (c *caches) load(core int, at uintptr, now Time) Time {
	return c.move(core, at, false, now) + c.machine.Hit
}

// store is a plain store: the core goes on while the line comes to its store buffer, which is emptied
// in order.
func (c *caches) store(core int, at uintptr, now Time) Time {
	c.drained[core] = max(c.drained[core], c.move(core, at, true, c.request(core, at, true, now)))
	return now + c.machine.Store
}

// locked is a locked instruction.
func (c *caches) locked(core int, at uintptr, now Time) Time {
	return c.move(core, at, true, now) + c.machine.Locked
}

// forget takes a line out of all caches, as a reader does that was the last to touch it.
func (c *caches) forget(at uintptr) { delete(c.lines, at) }
