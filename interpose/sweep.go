//go:build linux && (amd64 || arm64)

package interpose

import (
	"runtime"
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
		s.searchApart(false)
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

// searchApart searches on a goroutine of its own, unless one does, or has just done so for
// long; sweeping says whether it closes what nobody holds.
func (s *session) searchApart(sweeping bool) {
	if s.searching || time.Since(s.searched) < restAfterSearch*s.searchTook || len(s.sockets)+len(s.rtnls) == 0 {
		return
	}
	var rtnls map[uint64]*rtnlSocket
	if sweeping && s.keepEnds {
		rtnls = s.rtnls
	}
	f := s.newSearch(rtnls, false)
	s.searching = true
	s.searches.Go(func() {
		runtime.LockOSThread() // table may change its user for a moment
		defer runtime.UnlockOSThread()
		if testHookSearch != nil {
			testHookSearch()
		}
		began := time.Now()
		f.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.searching, s.searched, s.searchTook = false, time.Now(), time.Since(began)
		unheld := s.found(f)
		if sweeping {
			s.forgetAbsent(unheld)
			s.forgetRTNLs(f)
		}
	})
}

// quickSearch is how many descriptors the last search may have looked at for a call to
// wait for the next one: some milliseconds.
const quickSearch = 4096

// sweepForRoom closes what nobody holds, for a call that makes a socket: what was closed
// makes room, and takes no more packets from others in its fanout group. The call waits
// for that unless it takes long.
func (s *session) sweepForRoom() {
	if s.searchSaw <= quickSearch {
		s.sweep()
	} else {
		s.searchApart(true)
	}
}

// restAfterSearch keeps a search among very many descriptors from taking more than a
// fifth of a processor.
const restAfterSearch = 4

// testHookSearch runs before a search on a goroutine of its own.
var testHookSearch func()

// sweep closes the sockets that nobody holds any more: no descriptor, no mapping. It
// takes two in a row, because a descriptor on its way to another process in a message
// shows nowhere.
func (s *session) sweep() { s.forgetAbsent(s.unheld()) }

func (s *session) forgetAbsent(unheld []*socket) {
	for _, k := range unheld {
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

// unheld lists the sockets that no process of the session holds. The caller waits for
// the search.
func (s *session) unheld() []*socket {
	f := s.newSearch(nil, true)
	f.run()
	return s.found(f)
}

// found notes what a search has found, and lists the sockets that nobody holds.
func (s *session) found(f *search) (unheld []*socket) {
	s.searchSaw = f.looked
	for k, at := range f.seen {
		if s.byInode[k.inode] == k && (!k.muted || s.isAt(k, at)) { // it is still open
			k.seen(at.tid, at.fd)
		}
	}
	if f.blind {
		return nil
	}
	for _, r := range s.parked { // since the search began
		if k, ok := r.from.(*socket); ok {
			delete(f.missing, k)
		}
	}
	for _, k := range s.sockets {
		if f.missing[k] {
			unheld = append(unheld, k)
		} else {
			k.absent = 0
		}
		if local, ok := k.rx.(localSocket); ok {
			local.SetHeld(!f.missing[k])
		}
	}
	return unheld
}

// isAt reports whether k is still where it was seen: it may have been closed since.
func (s *session) isAt(k *socket, at sighting) bool {
	d, err := s.at(at.tid, at.fd)
	if err != nil {
		return false
	}
	found, _ := s.socketOf(d)
	return found == k
}

// sweepRTNL closes the rtnetlink sockets that no process of the session holds, where
// the kernel does not tell us because we hold them, too.
func (s *session) sweepRTNL() {
	if s.keepEnds {
		f := s.newSearch(s.rtnls, true)
		f.findRTNLs()
		s.forgetRTNLs(f)
	}
}

func (s *session) forgetRTNLs(f *search) {
	if f.blindForRTNLs {
		return
	}
	for inode, r := range f.missingRTNL {
		if s.rtnls[inode] == r {
			r.close()
		}
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
