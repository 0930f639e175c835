//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// checkSystem checks, before anything is started, that this process has what it needs
// besides seccomp, which the launcher tries.
func checkSystem() error {
	if err := checkProc(); err != nil {
		return err
	}
	scope, _ := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope") // most systems have none
	if err := checkYama(strings.TrimSpace(string(scope)), hasCapability(unix.CAP_SYS_PTRACE)); err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("rxring-check", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("interpose: this system refuses memfd_create, which rings need for their memory: %w: allow it in the container's seccomp profile; those of Docker and podman do", err)
	}
	return unix.Close(fd)
}

// checkProc checks that /proc shows this process under its own number.
func checkProc() error {
	const mount = `mount one ("mount -t proc proc /proc")`
	self, err := os.Readlink("/proc/self")
	if err != nil {
		if _, statErr := os.Stat("/proc/version"); statErr == nil {
			return fmt.Errorf("interpose: /proc belongs to a PID namespace that this process (%d) is not in: %s, or start the container with its own", os.Getpid(), mount)
		}
		return fmt.Errorf("interpose: there is no /proc, which is needed to inspect programs: %w: %s", err, mount)
	}
	if self != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("interpose: /proc belongs to another PID namespace, where this process (%d) is %s: %s", os.Getpid(), self, mount)
	}
	return nil
}

// checkYama checks that the Yama security module allows a process to inspect its
// children: 0 and 1 do, 2 only with CAP_SYS_PTRACE, 3 never
// (Documentation/admin-guide/LSM/Yama.rst).
func checkYama(scope string, ptrace bool) error {
	switch {
	case scope == "2" && !ptrace:
		return errors.New("interpose: kernel.yama.ptrace_scope is 2, so only CAP_SYS_PTRACE may inspect programs: add that capability, or set it to 1 (sysctl kernel.yama.ptrace_scope=1)")
	case scope == "3":
		return errors.New("interpose: kernel.yama.ptrace_scope is 3, so no process may inspect programs until the next boot: boot with 1 or less")
	}
	return nil
}

// hasCapability reports whether a capability of this process is in effect, or whether
// that cannot be found out.
func hasCapability(c uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) != nil || data[0].Effective&(1<<c) != 0
}

// lookPath finds the program, as [exec.Cmd] would.
func lookPath(cfg *Config) (string, error) {
	name := cfg.Args[0]
	file := name
	if cfg.Dir != "" && strings.Contains(name, "/") && !filepath.IsAbs(name) {
		file = filepath.Join(cfg.Dir, name)
	}
	path, err := exec.LookPath(file)
	switch {
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("interpose: %w", err)
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("interpose: %s: %w", name, exec.ErrNotFound)
	case err != nil:
		return "", startError(name, errnoOf(err))
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", fmt.Errorf("interpose: %s: %w", name, err)
	}
	return path, nil
}

// startError explains why the program, or the launcher, could not be started.
func startError(name string, errno syscall.Errno) error {
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR:
		return fmt.Errorf("interpose: %s: %w (%w)", name, exec.ErrNotFound, errno)
	case syscall.EACCES:
		return fmt.Errorf("interpose: %s: %w: want a file that this user may execute", name, errno)
	case syscall.EAGAIN: // of fork, or of execve after setuid
		return fmt.Errorf("interpose: %s: %w: this user has as many processes and threads as the limit allows (ulimit -u, or pids.max of the cgroup): raise it, or end some", name, errno)
	case syscall.EISDIR:
		return fmt.Errorf("interpose: %s: %w (%w)", name, fs.ErrPermission, errno)
	}
	return fmt.Errorf("interpose: %s: %w", name, errno)
}
