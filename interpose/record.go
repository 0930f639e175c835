//go:build linux && (amd64 || arm64)

package interpose

import (
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/procfs"
	"github.com/rxring/rxring/tpacket"
)

// Linux lets only CAP_SYS_PTRACE inspect a process that has changed its user
// (ptrace_may_access, kernel/ptrace.c), and root in a container does not have that
// capability. tcpdump and others start as root and give it up. So before such a
// process changes its user, we record what we shall need: its memory file, which goes
// on working, and the numbers of its descriptors that are sockets of ours. From then
// on the calls that change descriptor numbers are trapped, too: record_calls.go.
//
// A child that a process forks afterwards has no record: nothing can open its memory.
// Its calls on our sockets fail with ENETDOWN.

// record is what we keep of a process that may not be inspected.
type record struct {
	mem int // its memory, opened for reading and writing
	fds map[int32]descriptor

	// shared means that the memory may be the parent's, too (vfork). Then it stays when
	// the process executes a program, and the process gets another one.
	shared bool
}

// records is what the session knows of processes that it may not inspect.
type records struct {
	enabled   bool // the filter traps what records depend on
	byProcess map[int]*record
	users     map[int]procfs.IDs // by thread: the user that may inspect it
	numbers   map[int32]bool     // descriptor numbers where a socket of ours has been, in any process

	noVM     bool // process_vm_readv is denied
	keepEnds bool // we keep duplicates of rtnetlink sockets' ends: pidfd_getfd may be denied

	warned bool // that calls fail because their process is hidden
}

func newRecords(enabled bool) records {
	return records{
		enabled:   enabled,
		byProcess: make(map[int]*record),
		users:     make(map[int]procfs.IDs),
		numbers:   make(map[int32]bool),
		noVM:      vmDenied(),
		keepEnds:  enabled || procfs.DuplicateDenied(),
	}
}

// recordsNeeded reports whether a program may hide itself from us by changing its user: it
// has CAP_SETUID or CAP_SETGID, and we do not have CAP_SYS_PTRACE.
func recordsNeeded() bool {
	return !hasCapability(unix.CAP_SYS_PTRACE) && (hasCapability(unix.CAP_SETUID) || hasCapability(unix.CAP_SETGID))
}

// options are what the filter for this program depends on.
func (c *Config) options() options {
	return options{NoMlock: c.NoMlock, NoProcNet: c.NoProcNet, KeepUser: c.KeepUser, Records: !c.KeepUser && recordsNeeded()}
}

// of finds the record of a thread's process, nil if there is none.
func (rs *records) of(tid int) *record {
	tgid := tid
	r := rs.byProcess[tgid]
	if r == nil {
		for id, other := range rs.byProcess {
			if procfs.IsTask(id, tid) {
				tgid, r = id, other
				break
			}
		}
	}
	if r != nil && (!r.alive() || r.shared && rs.executed(tgid)) {
		rs.forget(tgid)
		return nil
	}
	return r
}

// executed reports whether a process that changed its user has executed a program
// since: then its own user may inspect it.
func (rs *records) executed(tgid int) bool {
	return rs.asUser(tgid, func() error { _, err := procfs.Executable(tgid); return err }) == nil
}

// alive reports whether the memory is still a process's. It is not after execve, nor
// when the process has ended and its number may be another's.
func (r *record) alive() bool {
	var b [1]byte
	n, err := unix.Pread(r.mem, b[:], 0)
	return n != 0 || err != nil // nothing is mapped at address 0, which is an error
}

func (rs *records) forget(tgid int) {
	unix.Close(rs.byProcess[tgid].mem)
	delete(rs.byProcess, tgid)
}

// forgetEnded drops the records of processes that have ended.
func (rs *records) forgetEnded() {
	for tgid, r := range rs.byProcess {
		if !r.alive() {
			rs.forget(tgid)
		}
	}
}

func (rs *records) close() {
	for tgid := range rs.byProcess {
		rs.forget(tgid)
	}
}

// asUser runs f on this thread with the file system's user and group of the thread
// tid, and returns f's error, or why f was not run.
func (rs *records) asUser(tid int, f func() error) error {
	if !rs.enabled {
		return unix.EPERM
	}
	if known, ok := rs.users[tid]; ok {
		if err := known.Do(f); !procfs.Denied(err) {
			return err
		}
	}
	now, ok := procfs.IDsOf(tid)
	if !ok || now == procfs.Own() {
		return unix.EPERM
	}
	err := now.Do(f)
	if err == nil {
		if len(rs.users) >= maxThreads {
			clear(rs.users) // nearly all are of threads that ended long ago
		}
		rs.users[tid] = now
	}
	return err
}

// recordBeforeChange makes or renews the records of a thread's process, which is about
// to change its user, and of its parent: until it executes a program the two may share
// their memory (vfork), and then neither may be inspected.
func (s *session) recordBeforeChange(tid int) {
	tgid, parent := procfs.ThreadGroup(tid), procfs.Parent(tid)
	r := s.recordProcess(tgid)
	if parent == s.root {
		return
	}
	s.recordProcess(parent)
	if r != nil {
		r.shared = sameProgram(tgid, parent)
	}
}

// sameProgram reports whether two processes run the same program, as after a fork.
func sameProgram(a, b int) bool {
	exe1, err1 := procfs.Executable(a)
	exe2, err2 := procfs.Executable(b)
	return err1 == nil && err2 == nil && exe1 == exe2
}

// recordProcess makes or renews the record of a process, and returns it. A process
// that may not be inspected keeps the record that it has; then the result is nil.
func (s *session) recordProcess(tgid int) *record {
	if tgid == 0 { // it has ended
		return nil
	}
	mem, err := procfs.OpenMemory(tgid)
	if err != nil {
		return nil
	}
	rs := &s.records
	if old := rs.byProcess[tgid]; old != nil {
		unix.Close(old.mem)
	} else if len(rs.byProcess) >= maxRecords {
		rs.forgetEnded()
	}
	r := &record{mem: mem, fds: make(map[int32]descriptor)}
	table, _ := inspectAll(tgid, s.sockets.byMemfd)
	for fd, d := range table {
		switch {
		case d.ringOf != nil:
			d.inode = d.ringOf.inode
		case s.sockets.byInode[d.inode] == nil && s.rtnl.open[d.inode] == nil:
			continue
		}
		flags, _ := procfs.DescriptorFlags(tgid, fd)
		d.cloexec = flags&unix.O_CLOEXEC != 0
		r.fds[fd] = d
	}
	rs.byProcess[tgid] = r
	return r
}

// maxRecords is the number of records at which those of ended processes are dropped.
const maxRecords = 64

// unlessHidden is the answer r, or ENETDOWN if the call was to be ours and we were not
// allowed to see that.
func (c *call) unlessHidden(r reply) reply {
	if !c.hidden {
		return r
	}
	rs := &c.s.records
	if r.kind == runNatively && (rs.numbers[c.hiddenFD] || c.packetOption()) {
		r = fail(unix.ENETDOWN)
	}
	if r.kind == returnValue && r.err == unix.ENETDOWN && c.valid() && !rs.warned {
		rs.warned = true
		c.s.warnf("%s: rxring may not inspect this process, because it has changed its user, is not dumpable, or its executable cannot be read: its packet-socket calls fail (ENETDOWN). Give rxring CAP_SYS_PTRACE (podman, docker: --cap-add=SYS_PTRACE), start it as that user, or run it with --keep-user", procfs.Name(c.tid))
	}
	return r
}

// packetOption reports whether the call is setsockopt or getsockopt at a level that
// only packet sockets have.
func (c *call) packetOption() bool {
	return (c.NR == unix.SYS_SETSOCKOPT || c.NR == unix.SYS_GETSOCKOPT) && c.int(1) == tpacket.SolPacket
}
