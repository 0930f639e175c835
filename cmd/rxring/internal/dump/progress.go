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

// progressInterval is the time between updates of the counts on a terminal, and between
// reads of another process's counters, the last of which are reported if it dies.
const progressInterval = 500 * time.Millisecond

// showProgress prints the number of packets on a terminal while they are written to files,
// until stop is called.
func (d *dumper) showProgress(stderr *os.File) (stop func()) {
	show := d.File != "" && !d.Quiet && progress.IsTerminal(stderr)
	if !show && !d.in.shared {
		return func() {}
	}
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(progressInterval)
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

// counts formats the counts of packets.
func counts(captured, dropped uint64) string {
	s := "s"
	if captured == 1 {
		s = ""
	}
	return fmt.Sprintf("%d packet%s captured, %d dropped", captured, s, dropped)
}

// String formats the result in one line, for people.
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

// reasons lists why packets were dropped. The kernel reports no reasons; it drops packets
// only if the ring is full.
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
