//go:build linux

package interpose

import "golang.org/x/sys/unix"

// archSyscalls are the older calls, which arm64 does not have.
var archSyscalls = []syscallEntry{
	{nr: unix.SYS_POLL, name: "poll", fd: none, other: (*call).poll},
	{nr: unix.SYS_SELECT, name: "select", fd: none, other: (*call).selectCall},
	{nr: unix.SYS_EPOLL_WAIT, name: "epoll_wait", fd: none, other: (*call).epollWait},
	{nr: unix.SYS_OPEN, name: "open", fd: none, mem: []int{0}, action: openAction, when: readOnly(1), other: (*call).openOld},
	{nr: unix.SYS_DUP2, name: "dup2", fd: none, action: recordAction, other: (*call).recordDup2},
}
