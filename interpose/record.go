//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/tpacket"
)

// Linux lets nobody but CAP_SYS_PTRACE inspect a process that has changed its user
// (ptrace_may_access, kernel/ptrace.c), and root in a container does not have that
// capability. tcpdump and others start as root and give it up. So before such a
// process changes its user, what will be needed of it is recorded: its memory
// file, which goes on working, and the numbers of those of its descriptors that
// are ours. From then on the calls that change the numbers are trapped, too.
//
// A child that a process forks afterwards has no record: nobody can open its
// memory. Its calls on our sockets fail with ENETDOWN.

// record is what is known of a process that may not be inspected.
type record struct {
	mem int // its memory, opened for reading and writing
	fds map[int32]descriptor

	// The memory may be the parent's, too (vfork). Then it outlives the execution of
	// a program, after which the process has another one.
	shared bool
}

// descriptor is what is at a descriptor number.
type descriptor struct {
	inode   uint64  // of the socket that it is; 0: of none
	memory  *socket // the packet socket whose ring's memory is there; nil: none
	cloexec bool    // known in records only
}

// needsRecords reports whether a program may put itself out of our sight by
// changing its user: it has CAP_SETUID or CAP_SETGID, and we do not have
// CAP_SYS_PTRACE.
func needsRecords() bool {
	return !hasCapability(unix.CAP_SYS_PTRACE) && (hasCapability(unix.CAP_SETUID) || hasCapability(unix.CAP_SETGID))
}

// traps is what the filter is to trap for the program.
func (c *Config) traps() traps {
	return traps{NoMlock: c.NoMlock, NoProcNet: c.NoProcNet, KeepUser: c.KeepUser, Records: !c.KeepUser && needsRecords()}
}

// keep makes, or renews, the records of a thread's process, which is about to change
// its user, and of its parent: until it executes a program the two may share their
// memory (vfork), and then neither may be inspected.
func (s *session) keep(tid int) {
	tgid, pid := threadGroup(tid), parent(tid)
	r := s.keepProcess(tgid)
	if pid == s.root {
		return
	}
	s.keepProcess(pid)
	if r != nil {
		r.shared = sameProgram(tgid, pid)
	}
}

// sameProgram reports whether two processes run the same program, as after a fork.
func sameProgram(a, b int) bool {
	exe1, err1 := os.Readlink(fmt.Sprintf("/proc/%d/exe", a))
	exe2, err2 := os.Readlink(fmt.Sprintf("/proc/%d/exe", b))
	return err1 == nil && err2 == nil && exe1 == exe2
}

// keepProcess makes, or renews, the record of a process, and returns it. One that may
// not be inspected keeps the record that it has, and nil is returned.
func (s *session) keepProcess(tgid int) *record {
	if tgid == 0 { // it has ended
		return nil
	}
	mem, err := openMemory(tgid)
	if err != nil {
		return nil
	}
	if old := s.records[tgid]; old != nil {
		unix.Close(old.mem)
	} else if len(s.records) >= maxRecords {
		s.forgetRecords()
	}
	r := &record{mem: mem, fds: make(map[int32]descriptor)}
	table, _ := inspectAll(tgid, s.byMemfd)
	for fd, d := range table {
		switch {
		case d.memory != nil:
			d.inode = d.memory.inode
		case s.byInode[d.inode] == nil && s.rtnls[d.inode] == nil:
			continue
		}
		flags, _ := descriptorFlags(tgid, fd)
		d.cloexec = flags&unix.O_CLOEXEC != 0
		r.fds[fd] = d
	}
	s.records[tgid] = r
	return r
}

// maxRecords is how many records there may be before those of processes that have
// ended are looked for.
const maxRecords = 64

// record finds the record of a thread's process, nil when there is none.
func (s *session) record(tid int) *record {
	tgid := tid
	r := s.records[tgid]
	if r == nil {
		for id, other := range s.records {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", id, tid)); err == nil {
				tgid, r = id, other
				break
			}
		}
	}
	if r != nil && (!r.alive() || r.shared && s.executed(tgid)) {
		s.forgetRecord(tgid)
		return nil
	}
	return r
}

// executed reports whether a process that changed its user has executed a program
// since: it may be inspected by its own user.
func (s *session) executed(tgid int) bool {
	return s.asUser(tgid, func() error {
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", tgid))
		return err
	}) == nil
}

// alive reports whether the memory is still a process's: not after execve, nor
// when the process has ended and its number may be another's.
func (r *record) alive() bool {
	var b [1]byte
	n, err := unix.Pread(r.mem, b[:], 0)
	return n != 0 || err != nil // at address 0 there is nothing, which is an error
}

func (s *session) forgetRecord(tgid int) {
	unix.Close(s.records[tgid].mem)
	delete(s.records, tgid)
}

// forgetRecords forgets those of processes that have ended.
func (s *session) forgetRecords() {
	for tgid, r := range s.records {
		if !r.alive() {
			s.forgetRecord(tgid)
		}
	}
}

// hasMemory reports whether a process has not ended. One that has, and that nobody has
// waited for yet, may not be inspected, either.
func hasMemory(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	return len(b) > 0 && b[0] != '0'
}

// unlessHidden is the answer to a call, unless it was to be ours and we could not see
// that.
func (c *call) unlessHidden(r reply) reply {
	if !c.hidden {
		return r
	}
	if r.kind == native && (c.s.numbers[c.hiddenFD] || c.packetOption()) {
		r = reply{kind: value, err: unix.ENETDOWN}
	}
	if r.kind == value && r.err == unix.ENETDOWN && c.valid() && !c.s.saidBlind {
		c.s.saidBlind = true
		c.s.cfg.logf("%s: rxring may not inspect this process, because it has changed its user, has told the system so, or cannot be read: its packet-socket calls fail (ENETDOWN). It works if rxring has CAP_SYS_PTRACE (podman, docker: --cap-add=SYS_PTRACE) or starts as that user, or with --keep-user", processName(c.tid))
	}
	return r
}

// packetOption reports whether the call is setsockopt or getsockopt at a level that
// packet sockets alone have.
func (c *call) packetOption() bool {
	return (c.NR == unix.SYS_SETSOCKOPT || c.NR == unix.SYS_GETSOCKOPT) && c.int(1) == tpacket.SolPacket
}

// processName is how a process is called, for messages.
func processName(tid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", tid))
	return fmt.Sprintf("%q (process %d)", strings.TrimSpace(string(name)), threadGroup(tid))
}
