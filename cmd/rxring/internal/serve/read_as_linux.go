//go:build linux && (amd64 || arm64)

package serve

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cmd/rxring/internal/sandbox"
)

// readAs opens and closes a file as the user. The process must be root's.
func readAs(u *sandbox.User, name string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		done <- openAs(u, name)
	}()
	return <-done
}

// openAs changes the calling thread's file system identity, for its lifetime.
func openAs(u *sandbox.User, name string) error {
	groups := []uint32{uint32(u.GID)} // gid_t; not empty, for its address
	for _, g := range u.Groups {
		groups = append(groups, uint32(g))
	}
	// The raw call affects this thread alone, and so does setfsuid(2), which also clears
	// CAP_DAC_OVERRIDE and the other file system capabilities.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return os.NewSyscallError("setgroups", errno)
	}
	if err := unix.Setfsgid(u.GID); err != nil {
		return os.NewSyscallError("setfsgid", err)
	}
	if err := unix.Setfsuid(u.UID); err != nil {
		return os.NewSyscallError("setfsuid", err)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return f.Close()
}
