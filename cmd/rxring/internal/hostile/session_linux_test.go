package hostile

import (
	"fmt"
	"testing"
	"time"

	"github.com/rxring/rxring/ring"
)

// session is a daemon with its clients and its sender.
type session struct {
	t      testing.TB
	attack attack

	wire             *wire
	daemon           *daemon
	victim, newcomer *process
	attackers        []*process
	sender           *sender
}

func newSession(t testing.TB, a attack, withAttacker bool) *session {
	t.Helper()
	s := &session{t: t, attack: a, wire: newWire(t)}
	s.daemon = serve(t, s.wire, a)
	if a.page {
		s.daemon.openPage()
	}
	if withAttacker {
		uids := a.attackers()
		if a.stranger {
			uids = []uint32{strangerUID}
		}
		for _, uid := range uids {
			s.attackers = append(s.attackers, start(t, "attacker", uid, a.nice, a.name, s.daemon.at))
		}
		if a.early > 0 {
			s.daemon.await()
			s.orderAttack()
			time.Sleep(a.early)
		}
	}
	s.victim = start(t, "victim", victimUID, 0, s.daemon.at)
	s.newcomer = start(t, "newcomer", victimUID, 0, s.daemon.at)
	return s
}

func (s *session) orderAttack() {
	s.t.Helper()
	for _, p := range s.attackers {
		p.order("%s", attacked.order())
	}
}

// run runs the phases and stores their figures in r.
func (s *session) run(r *result, all ...phase) {
	s.t.Helper()
	s.sender = startSender(s.wire.socket, s.attack.packet)
	defer s.sender.end()
	time.Sleep(warmUpTime)
	for _, p := range all {
		if p == attacked && s.attack.early == 0 {
			s.orderAttack()
		}
		s.newcomer.order("%s", p.order())
		begin := now()
		s.sender.enter(p)
		time.Sleep(*phaseTime)
		r.phases[p].lasted = now() - begin
	}
	total, err := s.sender.end()
	must(s.t, err)
	s.collect(r, total, all)
}

// collect ends all processes after total packets, and stores their results in r.
func (s *session) collect(r *result, total uint64, all []phase) {
	s.t.Helper()
	var (
		got  seen
		news attaching
	)
	s.newcomer.close()
	for _, p := range s.attackers {
		p.close()
	}
	s.victim.order("sent %d", total)
	s.victim.result(&got)
	s.newcomer.result(&news)
	for _, p := range s.attackers {
		var did string
		p.result(&did)
		if r.did != "" {
			did = "; " + did
		}
		r.did += did
	}
	s.daemon.end()
	for _, p := range all {
		f, n := &r.phases[p], &news[p]
		f.sent, f.reading, f.began = s.sender.sent[p], got.Phases[p], got.Began
		f.attaches, f.failed, f.worstAttach = n.Tried, n.Failed, n.Worst
		if n.Failed > 0 {
			s.t.Logf("%s: attaching failed: %s", p, n.Error)
		}
	}
	onWire, err := s.wire.lost()
	must(s.t, err)
	r.check(&got, total, onWire)
}

// check compares what the victim read with its socket's statistics.
func (r *result) check(got *seen, sent, onWire uint64) {
	read := uint64(0)
	for _, p := range got.Phases {
		read += p.Read
	}
	if n := got.Reasons[ring.Throttled]; n > 0 {
		r.faults = append(r.faults, fmt.Sprintf("the victim was throttled, for %d packets", n))
	}
	if got.Disorder != "" {
		r.faults = append(r.faults, "the victim read "+got.Disorder)
	}
	if got.Last && (got.Packets != sent-onWire || got.Packets-got.Drops != read) {
		r.faults = append(r.faults, fmt.Sprintf("the victim read %d of %d packets that were sent, of which the wire lost %d; its statistics say %d with %d drops",
			read, sent, onWire, got.Packets, got.Drops))
	}
}
