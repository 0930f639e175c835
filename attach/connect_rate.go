package attach

import (
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/explain"
)

// A user who connects and closes in a loop must not keep others from attaching. So the
// accept loop asks the kernel for the user ID and closes connections above the user's rate
// before it spends anything else on them.

const (
	// connectBurst and connectRate limit the connections of one user that are served. Each
	// may cost a goroutine, a call of Config.Grant, buffers and events.
	connectBurst = 2 * maxPeers

	// maxCallers limits the users whose rates are known. One person may have 65,536 user
	// IDs (subuid(5)).
	maxCallers = 4096
)

// connectRate is per second. Tests change it.
var connectRate = 50

var errTooFast = explain.Errorf(syscall.EAGAIN, "user connects too often: want at most %d connections a second", connectRate)

// tooFast is the answer to a connection above the rate.
var tooFast = refusal(errTooFast)

// connectLimiter limits how often each user connects. Only the accept loop uses it.
type connectLimiter struct {
	callers map[uint32]*tokenBucket // by UID
}

// allow reports whether another connection of the user may be served.
func (l *connectLimiter) allow(uid uint32, now time.Time) bool {
	b := l.callers[uid]
	if b == nil {
		if len(l.callers) >= maxCallers {
			l.forgetOne()
		}
		b = new(tokenBucket)
		l.callers[uid] = b
	}
	return b.take(now, float64(connectRate), connectBurst)
}

// forgetOne removes an arbitrary user, who has a full bucket afterwards. That is harmless:
// what an accepted connection costs is limited, too.
func (l *connectLimiter) forgetOne() {
	for uid := range l.callers {
		delete(l.callers, uid)
		return
	}
}

// tokenBucket limits a rate. The zero value is full.
type tokenBucket struct {
	missing float64 // tokens
	at      time.Time
}

// take removes a token and returns true, unless the bucket is empty. The bucket holds burst
// tokens and gains rate tokens a second.
func (b *tokenBucket) take(now time.Time, rate, burst float64) bool {
	if b.missing > 0 {
		b.missing = max(0, b.missing-rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.missing > burst-1 {
		return false
	}
	b.missing++
	return true
}
