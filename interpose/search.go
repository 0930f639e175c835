//go:build linux && (amd64 || arm64)

package interpose

import (
	"maps"
)

// search finds out which sockets the program and its descendants hold, by a walk through
// /proc. That takes some microseconds for each of their descriptors, and they may have
// many: it uses no field of the session, so that it can run on a goroutine of its own.
type search struct {
	root    int // everything below it is the program's
	byInode map[uint64]*socket
	byMemfd map[file]*socket
	rtnls   map[uint64]*rtnlSocket // to be looked for, too

	// table is inspectAll, for processes too that only a record or their own user may
	// inspect.
	table func(tid int) (map[int32]descriptor, error)

	// What was found. blind: a process may not be inspected, and may hold any of them.
	missing              map[*socket]bool
	seen                 map[*socket]sighting
	missingRTNL          map[uint64]*rtnlSocket
	blind, blindForRTNLs bool

	looked int // descriptors, about
}

// sighting is a descriptor of a socket.
type sighting struct {
	tid int
	fd  int32
}

// newSearch is a search for all sockets, and for the rtnetlink sockets of rtnls. Its table
// takes mu where it has to unless locked says that the caller has it.
func (s *session) newSearch(rtnls map[uint64]*rtnlSocket, locked bool) *search {
	f := &search{
		root:        s.root,
		byInode:     maps.Clone(s.byInode),
		byMemfd:     maps.Clone(s.byMemfd),
		rtnls:       maps.Clone(rtnls),
		missing:     make(map[*socket]bool),
		seen:        make(map[*socket]sighting),
		missingRTNL: maps.Clone(rtnls),
	}
	for _, k := range s.sockets {
		f.missing[k] = true
	}
	for _, r := range s.parked {
		if k, ok := r.from.(*socket); ok {
			delete(f.missing, k)
		}
	}
	f.table = func(tid int) (map[int32]descriptor, error) {
		table, err := inspectAll(tid, f.byMemfd)
		if denied(err) {
			if !locked {
				s.mu.Lock()
				defer s.mu.Unlock()
			}
			return s.table(tid)
		}
		return table, err
	}
	return f
}

func (f *search) run() {
	f.findSockets()
	f.findRTNLs()
}

func (f *search) findSockets() {
	if len(f.missing) == 0 {
		return
	}
	for _, pid := range descendants(f.root) {
		if len(f.missing) == 0 {
			return
		}
		if denied(f.look(pid)) && hasMemory(pid) {
			f.blind = true
			return
		}
	}
	// Once more, and closely: threads may have tables of their own, a process may have
	// been forked meanwhile, and a mapping holds too.
	for _, pid := range descendants(f.root) {
		if len(f.missing) == 0 {
			return
		}
		for m := range mappings(pid) {
			delete(f.missing, f.byMemfd[m])
		}
		for _, tid := range tasks(pid) {
			f.look(tid)
		}
	}
}

// look looks through the descriptors of a thread.
func (f *search) look(tid int) error {
	table, err := f.table(tid)
	f.looked += len(table)
	for fd, d := range table {
		k := d.memory
		if k == nil {
			k = f.byInode[d.inode]
		}
		if k != nil {
			delete(f.missing, k)
			f.seen[k] = sighting{tid, fd}
		}
	}
	return err
}

func (f *search) findRTNLs() {
	if len(f.rtnls) == 0 {
		return
	}
	for _, pid := range descendants(f.root) {
		for _, tid := range tasks(pid) {
			table, err := f.table(tid)
			if denied(err) && hasMemory(pid) {
				f.blindForRTNLs = true
				return
			}
			for _, d := range table {
				delete(f.missingRTNL, d.inode)
			}
		}
	}
}
