//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/procfs"
)

// The program's memory is written through /proc/PID/mem. That file stays the
// process's (seccomp_unotify(2)), so it is opened first, then the notification is
// checked, and from then on no other process can be meant, even if the thread ends
// and its number is reused. Such a write ignores the protection of private pages:
// it fills a buffer in read-only memory, for which Linux says EFAULT.
//
// The memory is read with process_vm_readv, which takes a fifth of the time, and the
// result counts only if the notification is valid afterwards. Where that call is
// refused, by a container's seccomp profile or because the process may not be
// inspected any more (see record.go), the file is read.

// read fills b from the program's memory: EFAULT if a part of it is not mapped.
func (c *call) read(addr uint64, b []byte) error {
	if err := c.readVM(addr, b); !procfs.Denied(err) {
		return err
	}
	fd, err := c.openMemory()
	if err != nil {
		return err
	}
	n, err := unix.Pread(fd, b, int64(addr))
	return transferred(n, len(b), err)
}

// readVM is read by process_vm_readv alone: EPERM where that is refused.
func (c *call) readVM(addr uint64, b []byte) error {
	if c.s.records.noVM {
		return unix.EPERM
	}
	n, err := unix.ProcessVMReadv(c.tid, local(b), remote(addr, b), 0)
	return transferred(n, len(b), err)
}

// readUint32 reads an int of the program's.
func (c *call) readUint32(addr uint64) (uint32, error) {
	var b [4]byte
	err := c.read(addr, b[:])
	return native32(b[:]), err
}

// readPrefix fills b from the program's memory as far as that is mapped, and returns
// the number of bytes. A read of several pages fails if one is missing, so it reads
// page by page.
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

// memoryWriter writes to the memory of a process whose call was still waiting when
// the writer was made.
type memoryWriter struct{ fd int }

// writer opens the program's memory and then checks the notification: EINTR if the
// call has ended.
func (c *call) writer() (memoryWriter, error) {
	fd, err := c.openMemory()
	if !c.valid() { // after the file was opened: it is the caller's
		return memoryWriter{-1}, unix.EINTR
	}
	if err == nil && testHookWrite != nil {
		testHookWrite(c.tid)
	}
	return memoryWriter{fd}, err
}

// testHookWrite runs between the check and the write.
var testHookWrite func(tid int)

// write copies b to the program's memory.
func (w memoryWriter) write(addr uint64, b []byte) error {
	n, err := unix.Pwrite(w.fd, b, int64(addr))
	return transferred(n, len(b), err)
}

// write copies b to the program's memory: EINTR if the call has ended.
func (c *call) write(addr uint64, b []byte) error {
	w, err := c.writer()
	if err != nil {
		return err
	}
	return w.write(addr, b)
}

// piece is what a call leaves at an address of the program's memory.
type piece struct {
	addr uint64
	b    []byte
}

// finish writes the results of a call that then returns 0. If the call has ended, the
// results are kept for the same call made again: see replay.go.
func (c *call) finish(results ...piece) reply {
	w, err := c.writer()
	if err == unix.EINTR {
		c.s.replays.unwritten = results
	}
	for _, p := range results {
		if err == nil {
			err = w.write(p.addr, p.b)
		}
	}
	return result(err)
}

// openMemory returns a descriptor of the memory of the calling thread's process: the
// call's, or that of the process's record. ENETDOWN: we may not have one.
func (c *call) openMemory() (int, error) {
	if c.mem >= 0 {
		return c.mem, nil
	}
	fd, err := procfs.OpenMemory(c.tid)
	switch {
	case err == nil:
		c.mem = fd
		return fd, nil
	case !procfs.Denied(err):
		return -1, err
	}
	if r := c.s.records.of(c.tid); r != nil {
		return r.mem, nil
	}
	if c.s.records.asUser(c.tid, func() error { fd, err = procfs.OpenMemory(c.tid); return err }) == nil {
		c.mem = fd
		return fd, nil
	}
	c.hidden, c.hiddenFD = true, -1
	return -1, unix.ENETDOWN
}

// release closes what the call has opened.
func (c *call) release() {
	if c.mem >= 0 {
		unix.Close(c.mem)
		c.mem = -1
	}
}

// vmDenied reports whether process_vm_readv is denied for every process, as by
// seccomp: a process may always read its own memory.
func vmDenied() bool {
	var from, to [1]byte
	_, err := unix.ProcessVMReadv(os.Getpid(), local(to[:]), remote(uint64(uintptr(unsafe.Pointer(&from[0]))), from[:]), 0)
	return procfs.Denied(err)
}

// transferred is Linux's error for n bytes of want that were copied.
func transferred(n, want int, err error) error {
	switch {
	case err == nil && n == want:
		return nil
	case err == nil, err == unix.EINVAL, err == unix.EIO: // a part; a range that wraps; none, of a memory file
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

func native32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func bytes32(v uint32) []byte  { return binary.NativeEndian.AppendUint32(nil, v) }
func bytes64(v uint64) []byte  { return binary.NativeEndian.AppendUint64(nil, v) }
