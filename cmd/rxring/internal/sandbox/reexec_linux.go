package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// variable is an environment variable of the program that Enter executes: the process's ID,
// the Landlock ABI version in use, and the path of the passed socket, separated by colons.
// execve changes neither the ID nor no_new_privs, so the variable has no effect if it was
// inherited or set by another process.
const variable = "RXRING_SANDBOX"

// Entered reports whether Enter executed this program, and which parts of the sandbox are
// active. It removes variable from the environment, for the process's children.
func Entered() (s State, ok bool) {
	text, ok := os.LookupEnv(variable)
	if !ok {
		return s, false
	}
	os.Unsetenv(variable)
	f := strings.SplitN(text, ":", 3)
	if len(f) != 3 || f[0] != strconv.Itoa(os.Getpid()) || !noNewPrivs() {
		return s, false
	}
	s.Landlock, _ = strconv.Atoi(f[1])
	s.Path = f[2]
	return s, true
}

// noNewPrivs reports whether the calling thread has no_new_privs.
func noNewPrivs() bool {
	on, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return err == nil && on == 1
}

// self is the program that this process runs.
const self = "/proc/self/exe"

// Enter executes this program again, in the same process and with the same arguments, but
// with the rights of c only. It returns only on an error; the process should end then,
// because the calling thread may have given up some of its rights.
//
// On a kernel without Landlock, or with an ABI version before 2 (Linux 5.19), it does not
// restrict the file system.
func Enter(c Config) error {
	runtime.LockOSThread() // never unlocked: its rights differ from other threads'
	if err := enter(&c); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	return nil
}

func enter(c *Config) error {
	defaultAction(unix.SIGINT, unix.SIGTERM)
	abi := 0
	if !c.AllFiles {
		abi = landlockABI()
	}
	var rules *ruleset
	if abi > 0 {
		var err error
		if rules, err = newRuleset(abi, c); err != nil {
			return err
		}
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, variable+"=") })
	env = append(env, fmt.Sprintf("%s=%d:%d:%s", variable, os.Getpid(), abi, c.Path))
	if c.Listen != nil {
		if err := handOver(c.Listen, &env); err != nil {
			return err
		}
	}
	if err := become(c.User); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	if rules != nil {
		if err := rules.restrict(); err != nil {
			return err
		}
	}
	err := syscall.Exec(self, os.Args, env)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w: want /proc mounted, or no sandbox", self, err)
	}
	return fmt.Errorf("execve %s: %w", self, err)
}

// defaultAction has the kernel itself end the process for these signals. Go's handler would run
// in any thread, and execve may kill that thread before the handler ends the process.
func defaultAction(signals ...unix.Signal) {
	for _, sig := range signals {
		var action struct{ handler, flags, restorer, mask uintptr } // struct sigaction of the kernel
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, unsafe.Sizeof(action.mask), 0, 0)
	}
}

// become changes the calling thread's user, unless u is nil, and drops all capabilities but
// those that are kept. The calls are raw ones: the C library's and package syscall's apply
// to all threads.
func become(u *User) error {
	kept := keptByUsers
	if u == nil && unix.Geteuid() == 0 || u != nil && u.UID == 0 {
		kept = keptByRoot
	}
	bound(kept)
	if u != nil {
		if err := u.set(); err != nil {
			return err
		}
	}
	err := keep(kept)
	if u == nil && errors.Is(err, unix.EPERM) {
		return nil // a service manager denies capset: it has decided about capabilities
	}
	return err
}

func (u *User) set() error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_KEEPCAPS: %w", err)
	}
	groups := make([]uint32, len(u.Groups)) // gid_t
	for i, g := range u.Groups {
		groups[i] = uint32(g)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
	if errno != 0 {
		return os.NewSyscallError("setgroups", errno)
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_SETRESGID, uintptr(u.GID), uintptr(u.GID), uintptr(u.GID)); errno != 0 {
		return os.NewSyscallError("setresgid", errno)
	}
	if _, _, errno = unix.RawSyscall(unix.SYS_SETRESUID, uintptr(u.UID), uintptr(u.UID), uintptr(u.UID)); errno != 0 {
		return os.NewSyscallError("setresuid", errno)
	}
	return nil
}

// firstListen is the number of the first descriptor that systemd hands over
// (SD_LISTEN_FDS_START).
const firstListen = 3

// handOver puts a listening socket where systemd puts it, and says so in env.
func handOver(f *os.File, env *[]string) error {
	if int(f.Fd()) == firstListen {
		if _, err := unix.FcntlInt(firstListen, unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	} else if err := unix.Dup3(int(f.Fd()), firstListen, 0); err != nil {
		return os.NewSyscallError("dup3", err)
	}
	*env = slices.DeleteFunc(*env, func(v string) bool { return strings.HasPrefix(v, "LISTEN_") })
	*env = append(*env, "LISTEN_PID="+strconv.Itoa(os.Getpid()), "LISTEN_FDS=1")
	return nil
}
