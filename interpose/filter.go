//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/tpacket"
)

// A rule traps one system call when every one of its conditions holds. Several
// rules for one call are alternatives.
type rule struct {
	nr   uint32
	all  []condition
	idle bool // the call is not trapped, but returns 0 and does nothing
}

// condition: the low 32 bits of an argument, masked, are one of values. The low
// half is all that the kernel itself looks at, for each argument tested here.
type condition struct {
	arg    int
	mask   uint32 // 0: all bits
	values []uint32
}

// Socket options at SOL_SOCKET that are a packet socket's own, or not a packet
// socket's but the stand-in's. Every other one works on the stand-in as it would
// on a packet socket.
var solSocketOptions = []uint32{
	unix.SO_TYPE, unix.SO_ERROR, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW,
	unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS, unix.SO_TIMESTAMPING, unix.SO_RXQ_OVFL, unix.SO_RCVMARK, soRcvpriority,
	unix.SO_TIMESTAMP_NEW, unix.SO_TIMESTAMPNS_NEW, unix.SO_TIMESTAMPING_NEW,
	unix.SO_ATTACH_FILTER, unix.SO_DETACH_FILTER, unix.SO_PROTOCOL, unix.SO_DOMAIN,
	unix.SO_LOCK_FILTER, unix.SO_BPF_EXTENSIONS, unix.SO_ATTACH_BPF,
	unix.SO_PASSCRED, unix.SO_PASSSEC, unix.SO_PEERCRED, unix.SO_PEERSEC, unix.SO_PEERGROUPS, unix.SO_PEEK_OFF,
	unix.SO_PRIORITY, unix.SO_MARK, unix.SO_NOFCS, unix.SO_BINDTODEVICE, unix.SO_BINDTOIFINDEX,
	unix.SO_PEERNAME, unix.SO_PASSPIDFD, unix.SO_PEERPIDFD, soPassrights,
}

// From asm-generic/socket.h.
const (
	soRcvpriority = 82 // SO_RCVPRIORITY
	soPassrights  = 83 // SO_PASSRIGHTS
)

// traps is what depends on the program and on who runs it.
type traps struct {
	NoMlock   bool // mlock does nothing
	NoProcNet bool // files are not asked about
	KeepUser  bool // nor do the calls that change the process's user do anything
	Records   bool // records are needed: see record.go
}

// rules is what the program's system calls are trapped for. Everything else
// never reaches the supervisor.
func rules(t traps) []rule {
	const mapKind = unix.MAP_TYPE | unix.MAP_ANONYMOUS
	rs := []rule{
		{nr: unix.SYS_SOCKET, all: []condition{{0, 0, []uint32{tpacket.AFPacket, unix.AF_BLUETOOTH}}}},
		{nr: unix.SYS_SOCKET, all: []condition{{0, 0, []uint32{unix.AF_NETLINK}}, {2, 0, []uint32{unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER}}}},
		{nr: unix.SYS_MMAP, all: []condition{{3, mapKind, []uint32{unix.MAP_SHARED, unix.MAP_SHARED_VALIDATE}}}},
	}
	if t.NoMlock {
		for _, nr := range []uint32{unix.SYS_MLOCK, unix.SYS_MLOCK2, unix.SYS_MLOCKALL} {
			rs = append(rs, rule{nr: nr, idle: true})
		}
	}
	if t.KeepUser {
		rs = append(rs, keepUserRules()...)
	}
	if t.Records {
		rs = append(rs, recordRules()...)
	}
	rs = append(rs, ioctlRules()...)
	if !t.NoProcNet {
		rs = append(rs, openRules()...)
	}
	for _, nr := range []uint32{unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT} {
		rs = append(rs,
			rule{nr: nr, all: []condition{{1, 0, []uint32{tpacket.SolPacket, unix.SOL_NETLINK}}}},
			rule{nr: nr, all: []condition{{1, 0, []uint32{unix.SOL_SOCKET}}, {2, 0, solSocketOptions}}})
	}
	for _, nr := range slices.Concat(socketCalls, pollCalls, archPollCalls) {
		rs = append(rs, rule{nr: nr})
	}
	return rs
}

// socketCalls are calls on a socket that are trapped whatever their arguments.
var socketCalls = []uint32{
	unix.SYS_BIND, unix.SYS_CONNECT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SHUTDOWN,
	unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG,
	unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG,
}

// pollCalls wait for descriptors. epoll_ctl is among them because it refuses a
// descriptor that stands for the ring's memory just then.
var pollCalls = []uint32{
	unix.SYS_PPOLL, unix.SYS_PSELECT6, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_EPOLL_CTL,
}

// epollWaits are those of the calls above that wait for an epoll set.
var epollWaits = append([]uint32{unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2}, archEpollWaits...)

// Offsets in struct seccomp_data (linux/seccomp.h).
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

// Opcodes of the instructions used (linux/bpf_common.h).
const (
	opLoad = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opAnd  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opJeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opJge  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	opRet  = unix.BPF_RET | unix.BPF_K
)

// assemble turns rules into a seccomp filter. Calls of another architecture
// (32-bit programs, x32) are let through untouched.
func assemble(rs []rule) ([]unix.SockFilter, error) {
	allow := unix.SockFilter{Code: opRet, K: unix.SECCOMP_RET_ALLOW}
	prog := []unix.SockFilter{
		{Code: opLoad, K: dataArch},
		{Code: opJeq, K: auditArch, Jt: 1},
		allow,
		{Code: opLoad, K: dataNr},
		{Code: opJge, K: firstForeignNr, Jf: 1},
		allow,
	}
	for len(rs) > 0 {
		nr := rs[0].nr
		var body []unix.SockFilter
		for _, r := range rs {
			if r.nr == nr {
				body = append(body, r.code()...)
			}
		}
		body = append(body, allow)
		rs = slices.DeleteFunc(slices.Clone(rs), func(r rule) bool { return r.nr == nr })
		if len(body) > 255 {
			return nil, fmt.Errorf("seccomp filter: %d instructions for system call %d: want at most 255, what a jump reaches", len(body), nr)
		}
		prog = append(prog, unix.SockFilter{Code: opJeq, K: nr, Jf: uint8(len(body))})
		prog = append(prog, body...)
	}
	return append(prog, allow), nil
}

// code is built back to front: a condition that fails jumps over what follows.
func (r *rule) code() []unix.SockFilter {
	action := uint32(unix.SECCOMP_RET_USER_NOTIF)
	if r.idle {
		action = unix.SECCOMP_RET_ERRNO // 0
	}
	code := []unix.SockFilter{{Code: opRet, K: action}}
	for _, c := range slices.Backward(r.all) {
		// Both machines are little-endian: the low half comes first.
		test := []unix.SockFilter{{Code: opLoad, K: uint32(dataArgs + 8*c.arg)}}
		if c.mask != 0 {
			test = append(test, unix.SockFilter{Code: opAnd, K: c.mask})
		}
		for i, v := range c.values {
			test = append(test, unix.SockFilter{Code: opJeq, K: v, Jt: uint8(len(c.values) - 1 - i)})
		}
		test[len(test)-1].Jf = uint8(len(code))
		code = append(test, code...)
	}
	return code
}
