package delivery

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring"
)

// How long the devices' sockets must be unchanged until readers are ready. Programs are not
// ready when they open a socket: libpcap discards what arrives between bind and filter, tshark
// opens a device twice, and many open a socket only to probe.
const (
	SettleTime = 500 * time.Millisecond

	// FanoutSettleTime is for sockets in fanout groups. Suricata's threads discard what
	// arrives until all of them have their sockets and nothing has arrived for 100 ms.
	FanoutSettleTime = 2 * time.Second

	// SettleLimit bounds the wait for a program that changes its sockets all the time.
	SettleLimit = 10 * time.Second
)

// WatchEvery is how often the sockets are checked.
const WatchEvery = 10 * time.Millisecond

// Wanted says when readers are ready: see file.Config.Wait.
type Wanted struct {
	Readers int           // 0: 1
	After   time.Duration // 0: SettleTime alone decides
}

// AwaitReaders returns when the devices' readers are ready, or ErrStopped when ctx ends
// before. It sets the devices' OnInterestChange meanwhile.
func AwaitReaders(ctx context.Context, devices []*rxring.Device, w Wanted) error {
	var changes atomic.Uint64 // of the sockets on the devices
	for _, d := range devices {
		d.OnInterestChange(func() { changes.Add(1) })
		defer d.OnInterestChange(nil)
	}
	var first, changed time.Time // when the first socket was bound, and the last change
	var settled time.Duration    // counted in ticks that were on time: on a busy machine programs are late, too
	var seen uint64
	var before int
	for inTime := true; ; {
		n, grouped := readers(devices)
		switch now := time.Now(); {
		case n == 0:
			first = time.Time{}
		case first.IsZero():
			first, changed, settled = now, now, 0
		case n != before, changes.Load() != seen:
			changed, settled = now, 0
		default:
			if inTime {
				settled += WatchEvery
			}
			// Programs that open sockets slowly also begin to read slowly.
			want := max(SettleTime, changed.Sub(first))
			if grouped {
				want = max(want, FanoutSettleTime)
			}
			since := now.Sub(first)
			if n >= w.Readers && since >= w.After && (settled >= want || since >= w.After+SettleLimit) {
				return nil
			}
		}
		seen, before = changes.Load(), n
		start := time.Now()
		if err := Sleep(ctx, WatchEvery); err != nil {
			return err
		}
		inTime = time.Since(start) < 2*WatchEvery
	}
}

// readers returns how many sockets are on the devices, and whether one is in a fanout group. A
// socket that is bound to all devices counts once.
func readers(devices []*rxring.Device) (n int, grouped bool) {
	sockets := make(map[*rxring.Socket]bool)
	for _, d := range devices {
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
