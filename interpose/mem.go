//go:build linux && (amd64 || arm64)

package interpose

import "golang.org/x/sys/unix"

// readMemory fills b from a thread's memory: EFAULT when any of it is not
// there.
func readMemory(tid int, addr uint64, b []byte) error {
	n, err := unix.ProcessVMReadv(tid, local(b), remote(addr, b), 0)
	return transferred(n, len(b), err)
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
