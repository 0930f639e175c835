package file

import (
	"sync/atomic"
	"time"

	"github.com/rxring/rxring"
)

// How long the devices' sockets must be unchanged when [Config].Wait is set. Programs are not
// ready when they open a socket: libpcap discards what arrives between bind and filter, tshark
// opens a device twice, and many open a socket only to probe.
const (
	SettleTime = 500 * time.Millisecond

	// FanoutSettleTime is for sockets in fanout groups. Suricata's threads discard what
	// arrives until all of them have their sockets and nothing has arrived for 100 ms.
	FanoutSettleTime = 2 * time.Second

	// settleLimit bounds the wait for a program that changes its sockets all the time.
	settleLimit = 10 * time.Second
)

// watchEvery is how often the sockets are checked.
const watchEvery = 10 * time.Millisecond

// awaitReaders returns when the replay may begin: see [Config].Wait.
func (s *Source) awaitReaders() error {
	var changes atomic.Uint64 // of the sockets on the devices
	for _, d := range s.devices {
		d.OnInterestChange(func() { changes.Add(1) })
		defer d.OnInterestChange(nil)
	}
	var first, changed time.Time // when the first socket was bound, and the last change
	var settled time.Duration    // counted in ticks that were on time: on a busy machine programs are late, too
	var seen uint64
	var before int
	for inTime := true; ; {
		n, grouped := s.readers()
		switch now := time.Now(); {
		case n == 0:
			first = time.Time{}
		case first.IsZero():
			first, changed, settled = now, now, 0
		case n != before, changes.Load() != seen:
			changed, settled = now, 0
		default:
			if inTime {
				settled += watchEvery
			}
			// Programs that open sockets slowly also begin to read slowly.
			want := max(SettleTime, changed.Sub(first))
			if grouped {
				want = max(want, FanoutSettleTime)
			}
			since := now.Sub(first)
			if n >= s.cfg.Readers && since >= s.cfg.After && (settled >= want || since >= s.cfg.After+settleLimit) {
				return nil
			}
		}
		seen, before = changes.Load(), n
		start := time.Now()
		if err := s.sleep(watchEvery); err != nil {
			return err
		}
		inTime = time.Since(start) < 2*watchEvery
	}
}

// readers returns how many sockets are on the devices, and whether one is in a fanout group. A
// socket that is bound to all devices counts once.
func (s *Source) readers() (n int, grouped bool) {
	sockets := make(map[*rxring.Socket]bool)
	for _, d := range s.devices {
		for socket := range d.Sockets() {
			if !sockets[socket] {
				sockets[socket] = true
				_, in := socket.Fanout()
				grouped = grouped || in
			}
		}
	}
	return len(sockets), grouped
}
