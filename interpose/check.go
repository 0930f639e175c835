//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// checkSystem finds out, before anything is started, whether this process has what it
// needs besides seccomp, which is tried by the launcher.
func checkSystem() error {
	if err := checkProc(); err != nil {
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
