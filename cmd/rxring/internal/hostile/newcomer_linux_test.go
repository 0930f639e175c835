package hostile

import (
	"context"
	"os"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
)

// attaching is what became of a newcomer's attempts to begin reading, by the phase in
// which they ended.
type attaching [phases]struct {
	Tried, Failed int
	Worst         time.Duration
	Error         string // the last
}

// attachEvery is how long a newcomer waits before it begins again.
const attachEvery = 100 * time.Millisecond

// newcomer attaches, opens a ring, binds and closes, again and again, at the path in its
// first argument.
func newcomer(o *orders) (any, error) {
	var all attaching
	ready()
	var in atomic.Uint64
	go func() {
		for n, ok := o.number("phase"); ok; n, ok = o.number("phase") {
			in.Store(n)
		}
	}()
	for pause(o.ctx, attachEvery) {
		start := now()
		err := begin(o.ctx, os.Args[1])
		a := &all[in.Load()]
		a.Worst = max(a.Worst, now()-start)
		a.Tried++
		if err != nil && o.ctx.Err() == nil {
			a.Failed++
			a.Error = err.Error()
		}
	}
	return all, nil
}

// begin begins to read, and stops.
func begin(ctx context.Context, at string) error {
	c, err := attach.Dial(ctx, at)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer c.Close()
	h, err := capture.OpenAttached(c, deviceName, capture.Config{Immediate: true, Buffer: 1 << 20})
	if err != nil {
		return err
	}
	return h.Close()
}
