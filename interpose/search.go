//go:build linux && (amd64 || arm64)

package interpose

import (
	"maps"

	"github.com/rxring/rxring/interpose/internal/procfs"
)

// search finds out which sockets the program and its descendants hold, by a walk through
// /proc. That takes some microseconds for each of their descriptors, and they may have
// many. So it uses no field of the session, and can run on a goroutine of its own.
type search struct {
	after   int // the number of the search that had ended last when this one began
	root    int // its descendants are the program's processes
	byInode map[uint64]*packetSocket
	byMemfd map[procfs.File]*packetSocket
	rtnls   map[uint64]*rtnlSocket // rtnetlink sockets to look for

	// descriptorsOf is inspectAll, and where that is denied session.descriptorsOf.
	descriptorsOf func(tid int) (map[int32]descriptor, error)

	// The result. blind means that a process may not be inspected, and may hold any.
	missing              map[*packetSocket]bool
	seen                 map[*packetSocket]sighting
	missingRTNL          map[uint64]*rtnlSocket
	blind, blindForRTNLs bool

	inspected int // the approximate number of descriptors
}

// sighting is a descriptor of a socket.
type sighting struct {
	tid int
	fd  int32
}

// newSearch makes a search for all packet sockets, and for rtnls. It runs with the
// session's mu held if locked says so, or else without.
func (s *session) newSearch(rtnls map[uint64]*rtnlSocket, locked bool) *search {
	f := &search{
		after:       s.sweeper.ended,
		root:        s.root,
		byInode:     maps.Clone(s.sockets.byInode),
		byMemfd:     maps.Clone(s.sockets.byMemfd),
		rtnls:       maps.Clone(rtnls),
		missing:     make(map[*packetSocket]bool),
		seen:        make(map[*packetSocket]sighting),
		missingRTNL: maps.Clone(rtnls),
	}
	for _, p := range s.sockets.open {
		f.missing[p] = true
	}
	s.excludeReceiving(f)
	f.descriptorsOf = func(tid int) (map[int32]descriptor, error) {
		table, err := inspectAll(tid, f.byMemfd)
		if procfs.Denied(err) {
			if !locked {
				s.mu.Lock()
				defer s.mu.Unlock()
			}
			return s.descriptorsOf(tid)
		}
		return table, err
	}
	return f
}

// excludeReceiving removes the sockets on which a receive call waits from those that are
// missing.
func (s *session) excludeReceiving(f *search) {
	for _, r := range s.waiting.receives {
		if p, ok := r.from.(*packetSocket); ok {
			delete(f.missing, p)
		}
	}
}

func (f *search) run() {
	f.findSockets()
	f.findRTNLs()
}

func (f *search) findSockets() {
	if len(f.missing) == 0 {
		return
	}
	for _, pid := range procfs.Descendants(f.root) {
		if len(f.missing) == 0 {
			return
		}
		if procfs.Denied(f.inspect(pid)) && procfs.HasMemory(pid) {
			f.blind = true
			return
		}
	}
	// Once more, and closely: threads may have tables of their own, a process may have
	// been forked meanwhile, and a mapping holds a socket, too.
	for _, pid := range procfs.Descendants(f.root) {
		if len(f.missing) == 0 {
			return
		}
		for m := range procfs.Mappings(pid) {
			delete(f.missing, f.byMemfd[m])
		}
		for _, tid := range procfs.Tasks(pid) {
			f.inspect(tid)
		}
	}
}

// inspect searches the descriptors of a thread.
func (f *search) inspect(tid int) error {
	table, err := f.descriptorsOf(tid)
	f.inspected += len(table)
	for fd, d := range table {
		p := d.ringOf
		if p == nil {
			p = f.byInode[d.inode]
		}
		if p != nil {
			delete(f.missing, p)
			f.seen[p] = sighting{tid, fd}
		}
	}
	return err
}

func (f *search) findRTNLs() {
	if len(f.rtnls) == 0 {
		return
	}
	for _, pid := range procfs.Descendants(f.root) {
		for _, tid := range procfs.Tasks(pid) {
			table, err := f.descriptorsOf(tid)
			if procfs.Denied(err) && procfs.HasMemory(pid) {
				f.blindForRTNLs = true
				return
			}
			for _, d := range table {
				delete(f.missingRTNL, d.inode)
			}
		}
	}
}
