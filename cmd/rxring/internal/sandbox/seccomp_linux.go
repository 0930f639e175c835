package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
)

// FilterCalls has the kernel refuse, to all threads and for good, every system call that
// a running daemon does not need. errors.ErrUnsupported: not on this architecture.
//
// It is a list of what is allowed: what a future kernel adds is refused, too. What is not
// in it fails with ENOSYS, as on a kernel that does not have it, so that Go's runtime and
// the C library (which loads libraries when it looks up names) fall back on what they did
// before that call existed. Calls that create processes or execute programs, for which
// there is no fallback, fail with EPERM.
func FilterCalls() error {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		return fmt.Errorf("sandbox: system calls of %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	a, err := arch.GetInfo("")
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if err := load(program(a)); err != nil {
		return fmt.Errorf("sandbox: seccomp: %w", err)
	}
	return nil
}

// load installs a program for all threads.
func load(prog []bpf.Instruction) error {
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // no_new_privs is a thread's, until the filter is synchronized
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	fprog := cbpf.SockFprog(cbpf.From(raw))
	other, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(fprog)))
	switch {
	case errno != 0:
		return errno
	case other != 0:
		return fmt.Errorf("thread %d has a filter of its own", other)
	}
	return nil
}

// Where struct seccomp_data (linux/seccomp.h) has what programs look at.
const (
	callAt = 0
	archAt = 4
	argsAt = 16
)

var allow = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}

func fail(e unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
}

// ifEqual does then, one instruction, if what was loaded is v.
func ifEqual(v uint32, then bpf.Instruction) []bpf.Instruction {
	return []bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipFalse: 1}, then}
}

// argument loads the lower half of an argument: the kernel looks at no more of an int.
// Both architectures have it first.
func argument(n uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: argsAt + 8*n, Size: 4} }

// program is the filter. The calls that depend on arguments come first; for all others
// the kernel knows the answer without running it (Linux 5.11).
func program(a *arch.Info) (p []bpf.Instruction) {
	add := func(is ...bpf.Instruction) { p = append(p, is...) }
	add(bpf.LoadAbsolute{Off: archAt, Size: 4}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(a.ID), SkipTrue: 1}, fail(unix.ENOSYS))
	add(bpf.LoadAbsolute{Off: callAt, Size: 4})
	if runtime.GOARCH == "amd64" { // its x32 calls
		add(bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: uint32(arch.X32.SeccompMask), SkipFalse: 1}, fail(unix.ENOSYS))
	}
	for name, body := range conditional() {
		add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(a.SyscallNames[name]), SkipFalse: uint8(len(body))})
		add(body...)
	}
	for name := range strings.FieldsSeq(allowed) {
		if nr, ok := a.SyscallNames[name]; ok { // not every architecture has all of them
			add(ifEqual(uint32(nr), allow)...)
		}
	}
	for name := range strings.FieldsSeq(refused) {
		if nr, ok := a.SyscallNames[name]; ok {
			add(ifEqual(uint32(nr), fail(unix.EPERM))...)
		}
	}
	add(fail(unix.ENOSYS))
	return p
}

// conditional are calls that are allowed with some arguments. Each body ends the program.
// clone3 is not among them: its arguments are in memory, where the filter cannot see them.
func conditional() map[string][]bpf.Instruction {
	const (
		tiocsti   = 0x5412 // TIOCSTI: types into a terminal
		tioclinux = 0x541c // TIOCLINUX: pastes there
	)
	// Threads, and no processes.
	clone := []bpf.Instruction{argument(0), bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: unix.CLONE_THREAD, SkipFalse: 1}, allow, fail(unix.EPERM)}
	// Go's runtime interrupts its own threads.
	tgkill := append([]bpf.Instruction{argument(0)}, ifEqual(uint32(os.Getpid()), allow)...)
	tgkill = append(tgkill, fail(unix.EPERM))

	ioctl := append([]bpf.Instruction{argument(1)}, ifEqual(tiocsti, fail(unix.EPERM))...)
	ioctl = append(ioctl, ifEqual(tioclinux, fail(unix.EPERM))...)
	ioctl = append(ioctl, allow)

	// Landlock's TCP ports do not concern MPTCP, which Go tries first and does without.
	socket := append([]bpf.Instruction{argument(2)}, ifEqual(unix.IPPROTO_MPTCP, fail(unix.EPROTONOSUPPORT))...)
	socket = append(socket, argument(0))
	for _, family := range []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET} {
		socket = append(socket, ifEqual(family, allow)...)
	}
	socket = append(socket, fail(unix.EAFNOSUPPORT))

	return map[string][]bpf.Instruction{"clone": clone, "tgkill": tgkill, "ioctl": ioctl, "socket": socket}
}

// allowed are calls that are allowed whatever their arguments.
const allowed = `
	read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek close close_range dup dup2 dup3
	pipe pipe2 eventfd eventfd2 fcntl flock fsync fdatasync fallocate ftruncate fadvise64 readahead
	open openat openat2 creat access faccessat faccessat2 stat lstat fstat newfstatat statx statfs fstatfs
	readlink readlinkat getdents getdents64 getcwd umask
	mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 chmod fchmod fchmodat fchmodat2
	chown fchown lchown fchownat
	inotify_init inotify_init1 inotify_add_watch inotify_rm_watch
	select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
	socketpair bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt shutdown
	sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg sendfile splice
	brk mmap mremap munmap mprotect madvise mincore msync mlock mlock2 munlock memfd_create membarrier
	rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait sigaltstack restart_syscall
	exit exit_group futex futex_waitv futex_wait futex_wake set_robust_list get_robust_list set_tid_address rseq
	sched_yield sched_getaffinity getcpu arch_prctl prctl pidfd_open
	nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times
	setitimer getitimer timer_create timer_settime timer_gettime timer_delete
	timerfd_create timerfd_settime timerfd_gettime
	getpid getppid gettid getpgrp getpgid getsid getuid geteuid getgid getegid getresuid getresgid getgroups capget
	getrandom getrlimit prlimit64 getrusage sysinfo uname getpriority`

// refused are calls with which a program, an exploited one say, starts others, or looks
// into them.
const refused = `execve execveat fork vfork kill tkill ptrace process_vm_readv process_vm_writev`
