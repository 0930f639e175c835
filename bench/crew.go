package bench

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// crew is the writers of a ring and its reader, each on a thread of its own:
// writer 0 on the first core, 1 on the second, and so on, the reader on the last
// one. So the reader is never on the core of a single writer. Of two writers on two
// cores one shares his with it: half of the slots are in his cache already.
//
// Writers that are more than the cores are goroutines without a core of their
// own: Go runs as many at once as there are cores, and pinned it might be two of
// one core.
type crew struct {
	n       int
	writers []*pinned // empty: goroutines
	reader  *pinned
}

// newCrew is errSkip where there is one core.
func newCrew(writers int) (*crew, error) {
	on, err := cores()
	if err != nil {
		return nil, err
	}
	c := &crew{n: writers}
	if c.reader, err = pin(on[len(on)-1]); err != nil {
		return nil, err
	}
	if writers > min(len(on), runtime.GOMAXPROCS(0)) {
		return c, nil
	}
	for i := range writers {
		w, err := pin(on[i])
		if err != nil {
			c.close()
			return nil, err
		}
		c.writers = append(c.writers, w)
	}
	return c, nil
}

func (c *crew) close() {
	for _, w := range c.writers {
		w.close()
	}
	c.reader.close()
}

// write runs work(0), work(1), ..., each on its writer's thread, and says how
// long it was from the moment when all of them were ready to the last one's end.
func (c *crew) write(work func(writer int)) time.Duration {
	var ready atomic.Int64
	var wg sync.WaitGroup
	began, ended := make([]time.Time, c.n), make([]time.Time, c.n)
	for i := range c.n {
		wg.Add(1)
		c.start(i, func() {
			defer wg.Done()
			ready.Add(1)
			for ready.Load() < int64(c.n) {
				if len(c.writers) == 0 {
					runtime.Gosched() // those who are yet to come need a core
				}
			}
			began[i] = time.Now()
			work(i)
			ended[i] = time.Now()
		})
	}
	wg.Wait()
	first, last := began[0], ended[0]
	for i := range c.n {
		if began[i].Before(first) {
			first = began[i]
		}
		if ended[i].After(last) {
			last = ended[i]
		}
	}
	return last.Sub(first)
}

func (c *crew) start(writer int, f func()) {
	if len(c.writers) == 0 {
		go f()
		return
	}
	c.writers[writer].start(f)
}

// laps has the writers fill a ring, and the reader empty it off the clock, again
// and again until budget is on the clock, after one lap to warm up. It says how
// many laps it was on the clock. While each writer has a core, laps that somebody
// else disturbed do not count: see laps.typical.
func (c *crew) laps(budget time.Duration, work func(writer int), drain func()) (n int, s Sample) {
	c.write(work)
	c.reader.run(drain)
	var l laps
	runtime.GC()
	mallocs := mallocs()
	for l.total < budget {
		l.add(c.write(work))
		c.reader.run(drain)
	}
	s.Mallocs = mallocs() // the crew's, too: some in thousands of packets
	s.Elapsed = l.total
	if len(c.writers) > 0 {
		s.Elapsed = l.typical()
	}
	return l.n, s
}
