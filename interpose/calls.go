//go:build linux && (amd64 || arm64)

package interpose

import (
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/seccomp"
	"github.com/rxring/rxring/tpacket"
)

// syscallEntry is a row of the table of system calls: one that the filter traps, and the
// functions that serve it.
type syscallEntry struct {
	nr   uint32
	name string

	// fd is the argument that is a descriptor, none if there is no such argument; mem
	// are those that are addresses in the program's memory.
	fd  int
	mem []int

	// The call is trapped if the program's options say so (nil: always), and its
	// arguments meet all conditions of one of the alternatives in when (nil: whatever
	// they are).
	action func(options) action
	when   [][]seccomp.Condition

	// packet serves the call if fd is a packet socket of ours, rtnl if it is an rtnetlink
	// socket of ours, and other if that row has no function for it. If there is none
	// either, the kernel runs the call.
	packet func(*call, *packetSocket) reply
	rtnl   func(*call, *rtnlSocket) reply
	other  func(*call) reply

	// replay says when the same call, made again because a signal ended it, gets the
	// answer that the first one was to get: see replay.go.
	replay replayRule
}

// none is the fd of calls without a descriptor that concerns us.
const none = -1

// action is what the filter does with a call.
type action uint8

const (
	trap   action = iota
	ignore        // the call returns 0 and does nothing
	pass          // the kernel runs it
)

// options are what the filter depends on, besides the table.
type options struct {
	NoMlock   bool // ignore mlock
	NoProcNet bool // pass open
	KeepUser  bool // ignore the calls that change the process's user and groups
	Records   bool // trap what records depend on: see record.go
}

// The table. Architectures add those calls that others leave to the C library:
// archSyscalls.
var syscalls = append([]syscallEntry{
	{nr: unix.SYS_SOCKET, name: "socket", fd: none, when: trappedFamilies, other: (*call).socketCall},
	{nr: unix.SYS_BIND, name: "bind", mem: []int{1}, packet: (*call).bind, rtnl: (*call).bindRTNL},
	{nr: unix.SYS_CONNECT, name: "connect", mem: []int{1}, packet: (*call).connect, rtnl: notSupported[*rtnlSocket]},
	{nr: unix.SYS_GETSOCKNAME, name: "getsockname", mem: []int{1, 2}, packet: (*call).getsockname, rtnl: (*call).rtnlName},
	{nr: unix.SYS_GETPEERNAME, name: "getpeername", mem: []int{1, 2}, packet: notSupported[*packetSocket], rtnl: (*call).rtnlPeer},
	{nr: unix.SYS_SHUTDOWN, name: "shutdown", packet: notSupported[*packetSocket], rtnl: notSupported[*rtnlSocket]},
	{nr: unix.SYS_SETSOCKOPT, name: "setsockopt", mem: []int{3}, when: trappedOptions, packet: (*call).setsockopt, rtnl: (*call).setRTNLOption, replay: replayAlways},
	{nr: unix.SYS_GETSOCKOPT, name: "getsockopt", mem: []int{3, 4}, when: trappedOptions, packet: (*call).getsockopt, rtnl: (*call).getRTNLOption, replay: replayAlways},

	{nr: unix.SYS_RECVFROM, name: "recvfrom", mem: []int{1, 4, 5}, packet: (*call).recv, rtnl: (*call).recvRTNL, replay: replaySuccess},
	{nr: unix.SYS_RECVMSG, name: "recvmsg", mem: []int{1}, packet: (*call).recv, rtnl: (*call).recvRTNL, replay: replaySuccess},
	{nr: unix.SYS_RECVMMSG, name: "recvmmsg", mem: []int{1, 4}, packet: (*call).recv, rtnl: (*call).recvRTNL, replay: replaySuccess},
	{nr: unix.SYS_SENDTO, name: "sendto", mem: []int{1, 4}, packet: (*call).send, rtnl: (*call).sendRTNL, replay: replaySuccess},
	{nr: unix.SYS_SENDMSG, name: "sendmsg", mem: []int{1}, packet: (*call).send, rtnl: (*call).sendRTNL, replay: replaySuccess},
	{nr: unix.SYS_SENDMMSG, name: "sendmmsg", mem: []int{1}, packet: (*call).send, rtnl: (*call).sendRTNL, replay: replaySuccess},

	{nr: unix.SYS_PPOLL, name: "ppoll", fd: none, other: (*call).poll},
	{nr: unix.SYS_PSELECT6, name: "pselect6", fd: none, other: (*call).selectCall},
	{nr: unix.SYS_EPOLL_PWAIT, name: "epoll_pwait", fd: none, other: (*call).epollWait},
	{nr: unix.SYS_EPOLL_PWAIT2, name: "epoll_pwait2", fd: none, other: (*call).epollWait},
	// epoll_ctl refuses a descriptor that is a ring's memory: see standin_mmap.go.
	{nr: unix.SYS_EPOLL_CTL, name: "epoll_ctl", fd: 2, mem: []int{3}, packet: (*call).epollCtl},

	{nr: unix.SYS_MMAP, name: "mmap", fd: 4, when: sharedMappings, packet: (*call).mmap},
	{nr: unix.SYS_IOCTL, name: "ioctl", mem: []int{2}, when: socketRequests, other: (*call).ioctl},
	{nr: unix.SYS_OPENAT, name: "openat", fd: none, mem: []int{1}, action: openAction, when: readOnly(2), other: (*call).openat},

	{nr: unix.SYS_MLOCK, name: "mlock", fd: none, action: mlockAction},
	{nr: unix.SYS_MLOCK2, name: "mlock2", fd: none, action: mlockAction},
	{nr: unix.SYS_MLOCKALL, name: "mlockall", fd: none, action: mlockAction},

	// After these a process may not be inspected any more.
	{nr: unix.SYS_SETUID, name: "setuid", fd: none, action: identityAction, other: (*call).changeIdentity},
	{nr: unix.SYS_SETGID, name: "setgid", fd: none, action: identityAction, other: (*call).changeIdentity},
	{nr: unix.SYS_SETREUID, name: "setreuid", fd: none, action: identityAction, other: (*call).changeIdentity},
	{nr: unix.SYS_SETREGID, name: "setregid", fd: none, action: identityAction, other: (*call).changeIdentity},
	{nr: unix.SYS_SETRESUID, name: "setresuid", fd: none, action: identityAction, other: (*call).changeIdentity},
	{nr: unix.SYS_SETRESGID, name: "setresgid", fd: none, action: identityAction, other: (*call).changeIdentity},
	{nr: unix.SYS_SETFSUID, name: "setfsuid", fd: none, action: identityAction, other: (*call).changeIdentity},
	{nr: unix.SYS_SETFSGID, name: "setfsgid", fd: none, action: identityAction, other: (*call).changeIdentity},
	{nr: unix.SYS_PRCTL, name: "prctl", fd: none, action: identityAction, when: setDumpable, other: (*call).changeIdentity},
	{nr: unix.SYS_SETGROUPS, name: "setgroups", fd: none, action: groupsAction},

	// These change what is at a descriptor number.
	{nr: unix.SYS_CLOSE, name: "close", fd: none, action: recordAction, other: (*call).recordClose},
	{nr: unix.SYS_CLOSE_RANGE, name: "close_range", fd: none, action: recordAction, other: (*call).recordCloseRange},
	{nr: unix.SYS_DUP, name: "dup", fd: none, action: recordAction, other: (*call).recordDup},
	{nr: unix.SYS_DUP3, name: "dup3", fd: none, action: recordAction, other: (*call).recordDup3},
	{nr: unix.SYS_FCNTL, name: "fcntl", fd: none, action: recordAction, when: descriptorCommands, other: (*call).recordFcntl},
}, archSyscalls...)

// syscallByNumber finds a row.
var syscallByNumber = func() map[int32]*syscallEntry {
	m := make(map[int32]*syscallEntry)
	for i := range syscalls {
		m[int32(syscalls[i].nr)] = &syscalls[i]
	}
	return m
}()

// rules is the filter for a program.
func rules(o options) (rules []seccomp.Rule) {
	for _, e := range syscalls {
		rule := seccomp.Rule{NR: e.nr, Name: e.name}
		if e.action != nil {
			switch e.action(o) {
			case pass:
				continue
			case ignore:
				rule.Action = unix.SECCOMP_RET_ERRNO // 0
			}
		}
		if e.when == nil {
			rules = append(rules, rule)
		}
		for _, conditions := range e.when {
			rule.All = conditions
			rules = append(rules, rule)
		}
	}
	return rules
}

func openAction(o options) action   { return when(!o.NoProcNet, trap) }
func mlockAction(o options) action  { return when(o.NoMlock, ignore) }
func groupsAction(o options) action { return when(o.KeepUser, ignore) }
func recordAction(o options) action { return when(o.Records, trap) }

func identityAction(o options) action {
	if o.KeepUser {
		return ignore
	}
	return recordAction(o)
}

// when is a if cond holds; otherwise the kernel runs the call.
func when(cond bool, a action) action {
	if cond {
		return a
	}
	return pass
}

// is is a condition on an argument.
func is(arg int, values ...uint32) seccomp.Condition {
	return seccomp.Condition{Arg: arg, Values: values}
}

var (
	trappedFamilies = [][]seccomp.Condition{
		{is(0, tpacket.AFPacket, unix.AF_BLUETOOTH)},
		{is(0, unix.AF_NETLINK), is(2, unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)},
	}
	trappedOptions = [][]seccomp.Condition{
		{is(1, tpacket.SolPacket, unix.SOL_NETLINK)},
		{is(1, unix.SOL_SOCKET), is(2, solSocketOptions...)},
	}
	sharedMappings = [][]seccomp.Condition{
		{{Arg: 3, Mask: unix.MAP_TYPE | unix.MAP_ANONYMOUS, Values: []uint32{unix.MAP_SHARED, unix.MAP_SHARED_VALIDATE}}},
	}
	// All groups of requests to sockets: which of them concern devices is decided by the
	// supervisor, so that none is forgotten here.
	socketRequests = [][]seccomp.Condition{
		{{Arg: 1, Mask: ioctlGroupMask, Values: []uint32{ioctlGroup, siociwfirst}}},
		{is(1, siocinq)},
	}
	setDumpable        = [][]seccomp.Condition{{is(0, unix.PR_SET_DUMPABLE)}}
	descriptorCommands = [][]seccomp.Condition{{is(1, unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_SETFD)}}
)

// readOnly is true if argument flags of open is for opening a file to read it. A
// filter does not see the path, which is in memory: the supervisor is asked about
// every such file, and serves a few.
func readOnly(flags int) [][]seccomp.Condition {
	const kind = unix.O_ACCMODE | unix.O_CREAT | unix.O_DIRECTORY | unix.O_PATH
	return [][]seccomp.Condition{{{Arg: flags, Mask: kind, Values: []uint32{unix.O_RDONLY}}}}
}

// solSocketOptions are the socket options at SOL_SOCKET that a packet socket has for
// itself, and those that have another meaning for its stand-in. All others work on
// the stand-in as they would on a packet socket.
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

// notSupported serves what Linux refuses on a kind of socket.
func notSupported[S any](*call, S) reply { return fail(unix.EOPNOTSUPP) }

// filter is the seccomp filter for a program.
func filter(o options) ([]unix.SockFilter, error) { return seccomp.Assemble(rules(o)) }
