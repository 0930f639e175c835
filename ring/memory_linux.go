package ring

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MemfdName is what /proc/PID/fd shows of ring memory.
const MemfdName = "rxring"

func newMemory(size int) (*Memory, error) {
	fd, err := memfd()
	if err != nil {
		return nil, fmt.Errorf("ring memory: memfd_create: %w", err)
	}
	m := &Memory{fd: fd}
	if err := m.allocate(size); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("ring memory of %d bytes: %w", size, err)
	}
	return m, nil
}

// memfd asks for memory that nobody can execute; Linux before 6.3 does not
// know that flag.
func memfd() (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(MemfdName, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(MemfdName, flags)
	}
	return fd, err
}

func (m *Memory) allocate(size int) error {
	if err := unix.Ftruncate(m.fd, int64(size)); err != nil {
		return fmt.Errorf("ftruncate: %w", err)
	}
	// Take the pages now, as the kernel does for its own ring, so that memory
	// that is not there is an error here and no fault in a writer later.
	if err := unix.Fallocate(m.fd, 0, 0, int64(size)); err != nil {
		if errors.Is(err, unix.ENOSPC) {
			err = unix.ENOMEM
		}
		return fmt.Errorf("fallocate: %w", err)
	}
	// Sealed before it is shared. F_SEAL_SEAL last: it seals the seals.
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(m.fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	p, err := unix.MmapPtr(m.fd, 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	m.b = unsafe.Slice((*byte)(p), size)
	// Unmapped only when no writer and no reader can touch it any more.
	runtime.AddCleanup(m, func(b []byte) {
		unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
	}, m.b)
	return nil
}

func (m *Memory) release() error {
	if m.fd < 0 {
		return nil
	}
	// In place of the shared pages come private ones that take no memory until
	// somebody stores to them: a writer in mid-copy needs no reference count.
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(unsafe.SliceData(m.b)), uintptr(len(m.b)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_FIXED)
	if err2 := unix.Close(m.fd); err == nil {
		err = err2
	}
	m.fd = -1
	if err != nil {
		return fmt.Errorf("ring memory: release: %w", err)
	}
	return nil
}
