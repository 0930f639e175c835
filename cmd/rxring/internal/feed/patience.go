package feed

import (
	"time"

	"github.com/rxring/rxring"
)

// How long a file waits for a socket whose ring or queue is full and stays so.
const (
	// unreadPatience is for a socket that has not been read at all, by a program
	// that may still be about to begin. One that has been read is waited for
	// without a limit.
	unreadPatience = 3 * time.Second
	// pacedPatience is for any socket when the file has a speed.
	pacedPatience = time.Second
)

// patience decides whether a file waits for the sockets on its devices. A socket that
// was waited for in vain drops packets and delays nobody, until it has room again. It
// is used by one goroutine.
type patience struct {
	devices []*rxring.Device
	paced   bool
	full    map[*rxring.Socket]time.Time // sockets without room, since when
}

// room is for [file.Config].
func (p *patience) room(n int) int {
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
