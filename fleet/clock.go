package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring"
)

// Clock is a host's clock beside the one here, as NTP measures it.
type Clock struct {
	Offset time.Duration `json:"offset"` // the host's time minus the time here
	Error  time.Duration `json:"error"`  // at most: half of the shortest round trip
}

// String returns the clock as "+1.3ms ± 200µs".
func (c Clock) String() string {
	unit := 100 * time.Microsecond
	if c.Error < time.Millisecond {
		unit /= 10
	}
	sign := "+"
	if c.Offset < 0 {
		sign = "-"
	}
	return fmt.Sprintf("%s%v ± %v", sign, c.Offset.Abs().Round(unit), max(c.Error.Round(unit), unit))
}

// instants are the times, in nanoseconds since the Unix epoch, at which a host received a request
// and answered it.
type instants struct {
	Received int64 `json:"received"`
	Sent     int64 `json:"sent"`
}

// clockSamples is how many requests measure a clock: the one with the shortest round trip counts.
const clockSamples = 8

// Clocks measures the clocks of the devices' hosts. Hosts that do not answer are missing.
func (r *Reader) Clocks(ctx context.Context) map[*rxring.Device]Clock {
	r.mu.Lock()
	devices := r.devices
	r.mu.Unlock()
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		free    = make(chan struct{}, maxAsked)
		subject = make(map[string]string) // by host
		clocks  = make(map[string]Clock)
	)
	for _, d := range devices {
		subject[d.host] = d.control
	}
	for host, control := range subject {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			if c, err := measureClock(ctx, r.nc, control); err == nil {
				mu.Lock()
				defer mu.Unlock()
				clocks[host] = c
			}
		})
	}
	wg.Wait()
	all := make(map[*rxring.Device]Clock)
	for _, d := range devices {
		if c, ok := clocks[d.host]; ok {
			all[d.dev] = c
		}
	}
	return all
}

func measureClock(ctx context.Context, nc *nats.Conn, control string) (best Clock, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for i := range clockSamples {
		begin := time.Now()
		m, err := nc.RequestWithContext(ctx, control, []byte(`{"op":"`+opTime+`"}`))
		took := time.Since(begin)
		if err != nil {
			return best, err
		}
		var a answer
		if err := json.Unmarshal(m.Data, &a); err != nil {
			return best, err
		}
		if a.Error != nil {
			return best, a.Error
		}
		if a.Time == nil {
			return best, fmt.Errorf("answer to %s without a time", opTime)
		}
		if c := clockOf(begin.UnixNano(), begin.Add(took).UnixNano(), *a.Time); i == 0 || c.Error < best.Error {
			best = c
		}
	}
	return best, nil
}

// clockOf is NTP's formula (RFC 5905, section 8) for a request sent at begin and answered at end.
func clockOf(begin, end int64, host instants) Clock {
	return Clock{
		Offset: time.Duration((host.Received-begin)/2 + (host.Sent-end)/2),
		Error:  time.Duration(max(0, (end-begin)-(host.Sent-host.Received)) / 2),
	}
}
