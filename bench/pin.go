package bench

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// pinned is a thread that stays on one core, and does there what it is told.
type pinned struct {
	work chan func()
	done chan struct{}
}

// pin starts the thread. Go makes no thread from it: none inherits its core.
func pin(core int) (*pinned, error) {
	p := &pinned{work: make(chan func()), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(p.done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var set unix.CPUSet
		set.Set(core)
		started <- unix.SchedSetaffinity(0, &set)
		for f := range p.work {
			f()
		}
	}()
	if err := <-started; err != nil {
		p.close()
		return nil, fmt.Errorf("pin a thread to core %d: %w", core, err)
	}
	return p, nil
}

// start has the thread run f, after what it runs already.
func (p *pinned) start(f func()) { p.work <- f }

// run is start, and waits until f has returned.
func (p *pinned) run(f func()) {
	done := make(chan struct{})
	p.start(func() {
		f()
		close(done)
	})
	<-done
}

func (p *pinned) close() {
	close(p.work)
	<-p.done
}

// cores are those that this process may use: errSkip if it is only one.
func cores() (all []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	for core := range len(set) * 64 {
		if set.IsSet(core) {
			all = append(all, core)
		}
	}
	if n := min(len(all), runtime.GOMAXPROCS(0)); n < 2 {
		return nil, fmt.Errorf("%w: a reader on another core than the writer's needs two cores, there is %d", errSkip, n)
	}
	return all, nil
}
