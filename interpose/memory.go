//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The program's memory is written through /proc/PID/mem, which stays that of the
// process whose file it is (seccomp_unotify(2)): the file is opened, then the
// notification is checked, and from then on no other process can be meant, even if the
// thread ends and its number is given to another one. Such a write does not respect
// the protection of private pages: a buffer in read-only memory, which Linux answers
// with EFAULT, is filled.
//
// It is read with process_vm_readv, which costs a fifth, and what came counts only if
// the notification is valid afterwards. Where that is refused, because a container's
// seccomp profile denies it or because the process may not be inspected any more (see
// record.go), the file does that, too.

// read fills b from the program's memory: EFAULT when any of it is not there.
// What it reads is the program's if the call is valid afterwards.
func (c *call) read(addr uint64, b []byte) error {
	if !c.s.noVM {
		n, err := unix.ProcessVMReadv(c.tid, local(b), remote(addr, b), 0)
		if !denied(err) {
			return transferred(n, len(b), err)
		}
	}
	fd, err := c.memory()
	if err != nil {
		return err
	}
	n, err := unix.Pread(fd, b, int64(addr))
	return transferred(n, len(b), err)
}

// readPrefix fills b from the program's memory as far as it is there, and returns
// how much that is. Of memory that is asked for at once all must be there, so each
// page is asked for by itself.
func (c *call) readPrefix(addr uint64, b []byte) (n int) {
	for n < len(b) {
		page := uint64(os.Getpagesize())
		end := min(n+int(page-(addr+uint64(n))%page), len(b))
		if c.read(addr+uint64(n), b[n:end]) != nil {
			break
		}
		n = end
	}
	return n
}

// write copies b to the program's memory, if the call still waits. EINTR: it does not.
func (c *call) write(addr uint64, b []byte) error {
	fd, err := c.memory()
	if !c.valid() { // after the file was opened: it is the caller's
		return unix.EINTR
	}
	if err != nil {
		return err
	}
	if testHookWrite != nil {
		testHookWrite(c.tid)
	}
	n, err := unix.Pwrite(fd, b, int64(addr))
	return transferred(n, len(b), err)
}

// testHookWrite runs between the check and the write.
var testHookWrite func(tid int)

// memory returns a descriptor of the memory of the calling thread's process, the
// call's own or its record's. ENETDOWN: there is none to be had.
func (c *call) memory() (int, error) {
	if c.mem >= 0 {
		return c.mem, nil
	}
	fd, err := openMemory(c.tid)
	switch {
	case err == nil:
		c.mem = fd
		return fd, nil
	case !denied(err):
		return -1, err
	}
	if r := c.s.record(c.tid); r != nil {
		return r.mem, nil
	}
	if c.s.asUser(c.tid, func() error { fd, err = openMemory(c.tid); return err }) == nil {
		c.mem = fd
		return fd, nil
	}
	c.hidden, c.hiddenFD = true, -1
	return -1, unix.ENETDOWN
}

// release closes what the call has opened of the program.
func (c *call) release() {
	if c.mem >= 0 {
		unix.Close(c.mem)
		c.mem = -1
	}
}

func openMemory(tid int) (int, error) {
	return unix.Open(fmt.Sprintf("/proc/%d/mem", tid), unix.O_RDWR|unix.O_CLOEXEC, 0)
}

// vmDenied reports whether process_vm_readv is denied whatever the process, as by
// seccomp: a process may always read its own memory.
func vmDenied() bool {
	var from, to [1]byte
	_, err := unix.ProcessVMReadv(os.Getpid(), local(to[:]), remote(uint64(uintptr(unsafe.Pointer(&from[0]))), from[:]), 0)
	return denied(err)
}

// denied reports whether err says that we may not do it. ENOSYS is what some
// seccomp profiles say.
func denied(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSYS)
}

func transferred(n, want int, err error) error {
	switch {
	case err == nil && n == want:
		return nil
	case err == nil, err == unix.EINVAL, err == unix.EIO: // part of it; a range that wraps; nothing of a memory file
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
