package bench

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// crew is a ring's writers and its reader, each on its own thread: writer 0 on the first core,
// writer 1 on the second, and so on, the reader on the last. So the reader never shares the core of
// a single writer. With two writers on two cores, one writer shares the reader's core and finds half
// of the slots in its cache.
//
// If there are more writers than cores, they are goroutines that are not pinned: Go runs as many at
// once as there are cores, while pinned threads of one core might be the ones that run.
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

// write runs work(0), work(1), ..., each on its writer's thread, and returns the time from the moment
// when all were ready until the last one ended.
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
					runtime.Gosched() // the writers that are not ready need a core
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

// laps lets the writers fill a ring, and the reader empty it off the clock, until budget is on the
// clock, after one lap to warm up. It returns the number of laps on the clock. If each writer has a
// core, disturbed laps do not count: see laps.typical.
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
