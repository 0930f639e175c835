//go:build unix

package fleet_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/need"
)

// A host that is stopped for longer than a lease, while its reader's messages wait, keeps the session.
func TestStoppedShipperKeepsItsSessions(t *testing.T) {
	need.Time(t, "a lease passes")
	t.Parallel()
	const lease = 2 * time.Second
	hub := startHub(t, "127.0.0.1:0")
	host, _ := startParty(t, "ship", fmt.Sprintf("%s a %v", hub.URL(), lease))
	r := read(t, dial(t, hub.URL()), fleet.ReaderConfig{})
	h := r.open(t, unread)
	eventually(t, "the host captures", func() bool { return host.pause().Taps > 0 })
	host.resume()
	eventually(t, "packets", func() bool { return r.Counts().Packets > 0 })
	host.signal(syscall.SIGSTOP)
	time.Sleep(lease * 3 / 2)
	host.signal(syscall.SIGCONT)
	before := r.Counts().Packets
	eventually(t, "packets after the stop", func() bool { return r.Counts().Packets > before })
	captured, drops := whole(t, h, uint64(host.pause().Sent))
	if c := r.Counts(); c.Sessions != 1 || drops.Sum() > 0 {
		t.Errorf("captured %d, dropped %v, %d sessions", captured, drops, c.Sessions)
	}
}

func (p *party) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}
