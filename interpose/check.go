//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// checkSystem finds out, before anything is started, whether this process has what it
// needs besides seccomp, which is tried by the launcher.
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
		return fmt.Errorf("interpose: this system refuses memfd_create, which makes the memory of rings: %w: allow it in the container's seccomp profile; those of Docker and podman do", err)
	}
	return unix.Close(fd)
}

// checkProc wants /proc to show this process under its own number.
func checkProc() error {
	const mount = `mount one ("mount -t proc proc /proc")`
	self, err := os.Readlink("/proc/self")
	if err != nil {
		if _, statErr := os.Stat("/proc/version"); statErr == nil {
			return fmt.Errorf("interpose: /proc belongs to a PID namespace that this process (%d) is not in: %s, or start the container with its own", os.Getpid(), mount)
		}
		return fmt.Errorf("interpose: there is no /proc, by which programs are inspected: %w: %s", err, mount)
	}
	if self != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("interpose: /proc belongs to another PID namespace, where this process (%d) is %s: %s", os.Getpid(), self, mount)
	}
	return nil
}

// checkYama wants the Yama security module to let a process inspect its children: 0
// and 1 do, 2 only with CAP_SYS_PTRACE, 3 never (Documentation/admin-guide/LSM/Yama.rst).
func checkYama(scope string, ptrace bool) error {
	switch {
	case scope == "2" && !ptrace:
		return errors.New("interpose: kernel.yama.ptrace_scope is 2, so Linux lets nobody without CAP_SYS_PTRACE inspect programs: add that capability, or set it to 1 (sysctl kernel.yama.ptrace_scope=1)")
	case scope == "3":
		return errors.New("interpose: kernel.yama.ptrace_scope is 3, so Linux lets nobody inspect programs until the next boot: boot with 1 or less")
	}
	return nil
}

// hasCapability reports whether this process has a capability in effect. Where that
// cannot be found out it does.
func hasCapability(c uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) != nil || data[0].Effective&(1<<c) != 0
}
