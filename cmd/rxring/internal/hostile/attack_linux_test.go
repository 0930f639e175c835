package hostile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// attack is what a hostile user does.
type attack struct {
	name string
	does string // in a few words, after "a user who"
	run  func(ctx context.Context, at string) (did string, err error)

	// stranger has a user run it whom no rule names.
	stranger bool

	// users is how many users run it at once, each in a process; 0: one.
	users int

	// nice is the attacker's priority. Any user can keep the processors busy, and no daemon
	// can help that: an attack that does so has 19, so that what is measured is what rxring
	// does for it.
	nice int

	// early is how long the attack runs before the others begin, 0: it begins after the
	// phase without it. The victim attaches and binds under it.
	early time.Duration

	// rule is further lines of the attacker's rule in the daemon's file, such as
	// "max_sockets = 1". Limits are the defaults without.
	rule string

	// group is the memory cgroup that the daemon runs in, nil: the test's.
	group *memoryGroup

	// packet is what the sender sends, nil: quietPacket. The last trailerLen bytes are
	// the sender's own.
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

// attackers are the numbers of the users who run it, but for a stranger.
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

// tally counts what an attack tried, and what it was told.
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
