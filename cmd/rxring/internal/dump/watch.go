package dump

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rxring/rxring/cmd/rxring/internal/progress"
	"github.com/rxring/rxring/ring"
)

// watchEvery is how often the count that a person watches is written anew, and how
// often drops are asked for that a ring's owner may take to its grave.
const watchEvery = 500 * time.Millisecond

// watch shows on a terminal how many packets there are, when they go to files, until
// stop is called.
func (d *dumper) watch(stderr *os.File) (stop func()) {
	show := d.File != "" && !d.Quiet && progress.IsTerminal(stderr)
	if !show && !d.in.shared {
		return func() {}
	}
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-end:
				if show {
					fmt.Fprint(stderr, "\r\x1b[K")
				}
				return
			case <-tick.C:
			}
			stats, _ := d.in.Handle.Stats()
			if show {
				fmt.Fprintf(stderr, "\r%s\x1b[K", counts(d.captured.Load(), stats.Drops))
			}
		}
	})
	return func() {
		close(end)
		wg.Wait()
	}
}

// counts says how many packets there were.
func counts(captured, dropped uint64) string {
	s := "s"
	if captured == 1 {
		s = ""
	}
	return fmt.Sprintf("%d packet%s captured, %d dropped", captured, s, dropped)
}

// String is the result as a person is told it.
func (r Result) String() string {
	text := counts(r.Captured, r.Dropped)
	if r.Dropped > 0 {
		text += ": " + r.reasons()
	}
	if r.Files > 1 {
		text += fmt.Sprintf(", %d files", r.Files)
	}
	return text
}

// reasons says why packets were dropped. The kernel does not say, but has one reason.
func (r Result) reasons() string {
	text := ring.Full.Explanation()
	var all []string
	for why, n := range r.Reasons.All() {
		if n > 0 {
			text = why.Explanation()
			all = append(all, fmt.Sprintf("%d %v", n, why))
		}
	}
	if len(all) > 1 {
		text = strings.Join(all, ", ")
	}
	return text
}
