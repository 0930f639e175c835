//go:build linux

package interpose

import "golang.org/x/sys/unix"

const (
	auditArch      = 0xc000003e // AUDIT_ARCH_X86_64 (linux/audit.h)
	firstForeignNr = 0x40000000 // __X32_SYSCALL_BIT (asm/unistd.h)
)

// archPollCalls are the calls that arm64 leaves to its C library.
var archPollCalls = []uint32{unix.SYS_POLL, unix.SYS_SELECT, unix.SYS_EPOLL_WAIT}

var archDups = []uint32{unix.SYS_DUP2}

// archOpens are other ways to open a file; flags are the second argument.
var archOpens = []uint32{unix.SYS_OPEN}

var archEpollWaits = []uint32{unix.SYS_EPOLL_WAIT}
