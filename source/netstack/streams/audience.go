package streams

import (
	"sync"

	"github.com/rxring/rxring"
)

// audience is the sockets that receive packets of a device. While there are none, the flows pause.
type audience struct {
	dev *rxring.Device

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
}

func newAudience(dev *rxring.Device) *audience {
	a := &audience{dev: dev, changed: make(chan struct{})}
	dev.OnInterestChange(a.change)
	return a
}

func (a *audience) close() { a.dev.OnInterestChange(nil) }

// change wakes those that wait.
func (a *audience) change() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
}

// wait waits until there is a socket. It returns false when stop is closed.
func (a *audience) wait(stop <-chan struct{}) bool {
	for !a.dev.HasListeners() {
		changed := a.nextChange()
		if a.dev.HasListeners() { // since before that change
			break
		}
		select {
		case <-changed:
		case <-stop:
			return false
		}
	}
	select {
	case <-stop:
		return false
	default:
		return true
	}
}

// nextChange returns a channel that is closed at the next change.
func (a *audience) nextChange() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}
