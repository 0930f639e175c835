//go:build linux && (amd64 || arm64)

package interpose

import (
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// How often the session looks which sockets are still held: more often where a
// closed one, until that is noticed, takes packets from others in its fanout
// group.
const (
	sweepInterval       = time.Second
	sweepIntervalGroups = 100 * time.Millisecond
)

// While a socket is new, the session looks more often, without closing anything:
// programs open sockets to try something, and a source that waits for readers must not
// take those for readers.
const (
	glanceInterval = 50 * time.Millisecond
	youth          = 10 * time.Second
)

// glance has sources know which sockets nobody holds, as far as can be seen.
func (s *session) glance(now time.Time) {
	if s.glances(now) && now.Sub(s.glanced) >= glanceInterval {
		s.glanced = now
		s.unheld()
	}
}

// glances reports whether there is a new socket. The newest is the last.
func (s *session) glances(now time.Time) bool {
	n := len(s.sockets)
	return n > 0 && now.Sub(s.sockets[n-1].born) < youth
}

func (s *session) sweepEvery() time.Duration {
	if slices.ContainsFunc(s.sockets, func(k *socket) bool { return k.grouped }) {
		return sweepIntervalGroups
	}
	return sweepInterval
}

// sweep closes the sockets that nobody holds any more: no descriptor, no
// mapping. It takes two in a row, because a descriptor on its way to another
// process in a message shows nowhere.
func (s *session) sweep() {
	s.swept = time.Now()
	s.forgetParked()
	for _, k := range s.unheld() {
		if k.absent++; k.absent >= 2 {
			s.forget(k)
		}
	}
}

// sweepNow closes what nobody holds at once, for a program that closed one
// socket and wants the memory for the next.
func (s *session) sweepNow() (freed bool) {
	for _, k := range s.unheld() {
		s.forget(k)
		freed = true
	}
	return freed
}

// unheld lists the sockets that no process of the session holds.
func (s *session) unheld() []*socket {
	if len(s.sockets) == 0 {
		return nil
	}
	missing := make(map[*socket]bool)
	for _, k := range s.sockets {
		missing[k] = true
	}
	for _, r := range s.parked {
		if k, ok := r.from.(*socket); ok {
			delete(missing, k)
		}
	}
	note := func(_ int32, k *socket, _ bool) { delete(missing, k) }
	for _, pid := range descendants(s.root) {
		if len(missing) == 0 {
			break
		}
		if denied(s.descriptors(pid, note)) && hasMemory(pid) {
			return nil // it may hold any of them
		}
	}
	if len(missing) > 0 {
		// Once more, and closely: threads may have tables of their own, a
		// process may have been forked meanwhile, and a mapping holds too.
		for _, pid := range descendants(s.root) {
			for f := range mappings(pid) {
				delete(missing, s.byMemfd[f])
			}
			for _, tid := range tasks(pid) {
				s.descriptors(tid, note)
			}
		}
	}
	var unheld []*socket
	for _, k := range s.sockets {
		if missing[k] {
			unheld = append(unheld, k)
		} else {
			k.absent = 0
		}
		if local, ok := k.rx.(localSocket); ok {
			local.SetHeld(!missing[k])
		}
	}
	return unheld
}

// sweepRTNL closes the rtnetlink sockets that no process of the session holds, where
// the kernel does not tell us because we hold them, too.
func (s *session) sweepRTNL() {
	if !s.keepEnds || len(s.rtnls) == 0 {
		return
	}
	unheld := maps.Clone(s.rtnls)
	for _, pid := range descendants(s.root) {
		for _, tid := range tasks(pid) {
			table, err := s.table(tid)
			if denied(err) && hasMemory(pid) {
				return // it may hold any of them
			}
			for _, d := range table {
				delete(unheld, d.inode)
			}
		}
	}
	for _, r := range unheld {
		r.close()
	}
}

// rtnlReadable reports whether an rtnetlink socket is readable.
func (s *session) rtnlReadable() bool {
	for _, r := range s.rtnls {
		if r.staged {
			return true
		}
	}
	return false
}

// forget closes a socket and keeps its report.
func (s *session) forget(k *socket) {
	if !s.detached() {
		k.report.Longest = k.longestInRing()
	}
	s.drop(k)
	k.report.Totals, k.report.Sent = k.rx.Totals(), k.rx.Sent()
	k.report.Unknown = s.detached()
}

// drop closes a socket.
func (s *session) drop(k *socket) {
	if k.sendWritten(); k.held != nil {
		s.cfg.logf("write to a packet socket: frames are lost: the device had no room for them when the socket was closed")
	}
	k.rx.Disarm(&k.waker)
	k.rx.Disarm(&k.comes)
	k.rx.Disarm(s.news)
	k.rx.Close()
	s.pairs.remove(k.waker.end)
	k.waker.close()
	delete(s.byInode, k.inode)
	for _, f := range k.memfds {
		delete(s.byMemfd, f)
	}
	s.sockets = slices.DeleteFunc(s.sockets, func(o *socket) bool { return o == k })
	s.swaps.forget(k)
	k.forgetMemory()
	unix.Close(k.end)
}
