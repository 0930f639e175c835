//go:build linux && (amd64 || arm64)

package serve

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cmd/rxring/internal/sandbox"
)

// readableBy opens a file as the user, and closes it. The calling process is root's.
func readableBy(u *sandbox.User, name string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		done <- openAs(u, name)
	}()
	return <-done
}

// openAs changes the identity that the calling thread opens files with, for ever.
func openAs(u *sandbox.User, name string) error {
	groups := []uint32{uint32(u.GID)} // gid_t; not empty, for its address
	for _, g := range u.Groups {
		groups = append(groups, uint32(g))
	}
	// The raw call is of this thread alone, as setfsuid(2) is, which takes away
	// CAP_DAC_OVERRIDE and its like, too.
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
