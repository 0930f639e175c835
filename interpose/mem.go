//go:build linux && (amd64 || arm64)

package interpose

import (
	"os"

	"golang.org/x/sys/unix"
)

// readMemory fills b from a thread's memory: EFAULT when any of it is not
// there.
func readMemory(tid int, addr uint64, b []byte) error {
	n, err := unix.ProcessVMReadv(tid, local(b), remote(addr, b), 0)
	return transferred(n, len(b), err)
}

// readPrefix fills b from a thread's memory as far as it is there, and returns
// how much that is. Of memory that is asked for at once all must be there, so each
// page is asked for by itself.
func readPrefix(tid int, addr uint64, b []byte) (n int) {
	for n < len(b) {
		page := uint64(os.Getpagesize())
		end := min(n+int(page-(addr+uint64(n))%page), len(b))
		if readMemory(tid, addr+uint64(n), b[n:end]) != nil {
			break
		}
		n = end
	}
	return n
}

// writeMemory copies b to a thread's memory.
func writeMemory(tid int, addr uint64, b []byte) error {
	n, err := unix.ProcessVMWritev(tid, local(b), remote(addr, b), 0)
	return transferred(n, len(b), err)
}

func transferred(n, want int, err error) error {
	switch {
	case err == nil && n == want:
		return nil
	case err == nil, err == unix.EINVAL: // part of it; a range that wraps
		return unix.EFAULT
	}
	return err
}

func local(b []byte) []unix.Iovec {
	var v unix.Iovec
	if len(b) > 0 {
		v.Base = &b[0]
	}
	v.SetLen(len(b))
	return []unix.Iovec{v}
}

func remote(addr uint64, b []byte) []unix.RemoteIovec {
	return []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}
}
