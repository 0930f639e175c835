package attach

import (
	"slices"
	"sync"

	"github.com/rxring/rxring"
)

// deviceLog records how a namespace's devices change. A peer that knows the devices of some time
// is sent the changes since then, so one device more or less is not a list of all.
type deviceLog struct {
	ns *rxring.Namespace

	mu      sync.Mutex
	seen    uint64                      // Namespace.DeviceChanges at the last update
	updates uint64                      // how many there were
	entries map[*rxring.Device]logEntry // at the last update
	ordered []*rxring.Device            // the same, as allDevices lists them
	changed []*rxring.Device            // by time; the first has the number start
	start   uint64
}

// logEntry is a device as it was at an update.
type logEntry struct {
	*device
	update uint64 // the last one that found it
}

// deviceChange is a device that was added or changed; now is nil if it was removed.
type deviceChange struct {
	dev *rxring.Device
	now *device
}

func newDeviceLog(ns *rxring.Namespace) *deviceLog {
	return &deviceLog{ns: ns, entries: make(map[*rxring.Device]logEntry), start: 1}
}

// minChanges is the number of changes that a deviceLog keeps at least.
const minChanges = 1024

// since returns the changes after a point in time, each device once, and the present point, which
// is not 0. complete: they are all devices instead, since from is 0 or too long ago.
func (l *deviceLog) since(from uint64) (changes []deviceChange, until uint64, complete bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.updateLocked()
	devices := l.ordered
	if complete = from < l.start; !complete {
		devices = l.changed[from-l.start:]
	}
	changes = make([]deviceChange, 0, len(devices))
	listed := make(map[*rxring.Device]struct{}, len(devices))
	for _, d := range devices {
		if _, ok := listed[d]; !ok {
			listed[d] = struct{}{}
			changes = append(changes, deviceChange{d, l.entries[d].device})
		}
	}
	return changes, l.start + uint64(len(l.changed)), complete
}

// updateLocked records what has changed since the last call.
func (l *deviceLog) updateLocked() {
	now := l.ns.DeviceChanges()
	if l.updates > 0 && l.seen == now {
		return
	}
	l.seen = now
	l.updates++
	l.ordered = allDevices(l.ns)
	for _, d := range l.ordered {
		e := l.entries[d]
		if e.device == nil || !e.describes(d) {
			e.device = newDevice(d)
			l.changed = append(l.changed, d)
		}
		e.update = l.updates
		l.entries[d] = e
	}
	if len(l.entries) > len(l.ordered) {
		for d, e := range l.entries {
			if e.update != l.updates {
				delete(l.entries, d)
				l.changed = append(l.changed, d)
			}
		}
	}
	if n := len(l.changed) - max(minChanges, len(l.ordered)); n > 0 {
		l.changed = slices.Clone(l.changed[n:]) // as many are as much as all devices
		l.start += uint64(n)
	}
}
