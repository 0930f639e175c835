package file

import (
	"sync/atomic"
	"time"

	"github.com/rxring/rxring"
)

// How long the sockets on the devices must have been as they are when [Config].Wait is
// set. Programs are not ready when they open a socket: libpcap discards what arrives
// between bind and filter, tshark opens a device twice, and many open a socket only to
// try something.
const (
	SettleTime = 500 * time.Millisecond

	// FanoutSettleTime is for sockets in fanout groups. Suricata's threads discard what
	// arrives until all of them have their sockets and nothing has arrived for 100 ms.
	FanoutSettleTime = 2 * time.Second

	// settleLimit bounds the wait for a program that changes its sockets all the time.
	settleLimit = 10 * time.Second
)

// watchEvery is how often the sockets are looked at.
const watchEvery = 10 * time.Millisecond

// awaitReaders returns when the replay is to begin: see [Config].Wait.
func (s *Source) awaitReaders() error {
	var changes atomic.Uint64 // of what sockets want of the devices
	for _, d := range s.devices {
		d.OnInterestChange(func() { changes.Add(1) })
		defer d.OnInterestChange(nil)
	}
	var first, changed time.Time // since when there are sockets, and since when these
	var settled time.Duration    // in ticks that were in time: programs are late, too, on a busy machine
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
			// A program that opens its sockets slowly also begins to read slowly.
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

// readers counts the sockets on the devices, and reports whether one is in a fanout
// group. A socket that is bound to all devices counts once.
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
