package hostile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// attack is what a hostile user does.
type attack struct {
	name string
	does string // in a few words, after "a user who"
	run  func(ctx context.Context, at string) (did string, err error)

	// stranger: a user that no rule names runs it.
	stranger bool

	// users is the number of users who run it, each in a process; 0: one.
	users int

	// nice is the attacker's nice value. Any user can keep the processors busy without rxring:
	// an attack that does so has 19, so that only rxring's work for it is measured.
	nice int

	// early is how long the attack runs before the victim starts, which attaches and binds
	// during it; 0: the attack starts after the quiet phase.
	early time.Duration

	// rule has further lines of the attacker's rule in the daemon's file, such as
	// "max_sockets = 1". By default the limits are rxring's.
	rule string

	// page: the daemon serves its page at pageOf, where every user may connect.
	page bool

	// group is the memory cgroup that the daemon runs in, nil: the test's.
	group *memoryGroup

	// packet is what the sender sends, nil: quietPacket. The sender replaces the last
	// trailerLen bytes.
	packet []byte

	// open is why the attack succeeds today; "": it must not.
	open string
}

var attacks []attack

func register(a attack) struct{} {
	if _, ok := attackByName(a.name); ok {
		panic("two attacks are named " + a.name)
	}
	attacks = append(attacks, a)
	slices.SortFunc(attacks, func(a, b attack) int { return strings.Compare(a.name, b.name) })
	return struct{}{}
}

// attackers returns the UIDs that run it, unless a stranger does.
func (a *attack) attackers() (uids []uint32) {
	for i := range max(a.users, 1) {
		uids = append(uids, attackerUID+10*uint32(i))
	}
	return uids
}

func attackByName(name string) (attack, bool) {
	for _, a := range attacks {
		if a.name == name {
			return a, true
		}
	}
	return attack{}, false
}

// inParallel calls once in n goroutines, each again and again until ctx ends, and returns the
// sum of the tallies.
func inParallel(ctx context.Context, n int, once func(i int) tally) string {
	var (
		mu  sync.Mutex
		all tally
		wg  sync.WaitGroup
	)
	for i := range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				t := once(i)
				mu.Lock()
				all.add(t)
				mu.Unlock()
				pause(ctx, 10*time.Millisecond)
			}
		})
	}
	wg.Wait()
	return all.String()
}

// tally counts an attack's tries and errors.
type tally struct {
	tried, refused int
	last           error
}

func (t *tally) note(err error) {
	t.tried++
	if err != nil {
		t.refused++
		t.last = err
	}
}

func (t *tally) add(o tally) {
	t.tried += o.tried
	t.refused += o.refused
	if o.last != nil {
		t.last = o.last
	}
}

func (t *tally) String() string {
	s := fmt.Sprintf("%d tries, %d refused", t.tried, t.refused)
	if t.last != nil {
		s += fmt.Sprintf(", the last with: %v", t.last)
	}
	return s
}
