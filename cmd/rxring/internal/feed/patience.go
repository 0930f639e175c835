package feed

import (
	"time"

	"github.com/rxring/rxring"
)

// How long a file waits for a socket whose ring or queue is full and stays so.
const (
	// unreadPatience limits the wait for a socket that has never been read, whose program
	// may be about to start. The wait for others has no limit.
	unreadPatience = 3 * time.Second
	// pacedPatience limits the wait for any socket if the file has a speed.
	pacedPatience = time.Second
)

// patience decides whether a file waits for the sockets on its devices. After the limit, a
// socket drops packets and delays no others, until it has room again. It must not be used
// concurrently.
type patience struct {
	devices []*rxring.Device
	paced   bool
	full    map[*rxring.Socket]time.Time // sockets without room, since when
}

// room implements file.Config.Room.
func (p *patience) room(n int) int {
	common := n
	for _, d := range p.devices {
		common = d.RoomFor(common)
	}
	if common > 0 { // usually, and without an allocation
		p.full = nil
		return common
	}
	var full map[*rxring.Socket]time.Time
	wait := false
	for _, d := range p.devices {
		for s := range d.Sockets() {
			if room := s.RoomFor(n); room > 0 {
				n = room
				continue
			}
			since, ok := p.full[s]
			if !ok {
				since = time.Now()
			}
			if full == nil {
				full = make(map[*rxring.Socket]time.Time)
			}
			full[s] = since
			wait = wait || p.waitFor(s, time.Since(since))
		}
	}
	p.full = full
	if wait {
		return 0
	}
	return n
}

func (p *patience) waitFor(s *rxring.Socket, waited time.Duration) bool {
	if p.paced {
		return waited < pacedPatience
	}
	return waited < unreadPatience || s.HasRead()
}
