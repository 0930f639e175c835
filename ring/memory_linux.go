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

func newMemories(sizes []int) ([]*Memory, error) {
	fd, err := memfd()
	if err != nil {
		return nil, fmt.Errorf("ring memory: memfd_create: %w", err)
	}
	f := &file{fd: fd}
	for _, n := range sizes {
		f.size += n
	}
	var ms []*Memory
	if err = f.allocate(); err == nil {
		ms, err = f.mapAll(sizes)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("ring memory of %d bytes: %w", f.size, err)
	}
	return ms, nil
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

func (f *file) allocate() error {
	if err := unix.Ftruncate(f.fd, int64(f.size)); err != nil {
		return fmt.Errorf("ftruncate: %w", err)
	}
	// Take the pages now, as the kernel does for its own ring, so that memory
	// that is not there is an error here and no fault in a writer later.
	if err := unix.Fallocate(f.fd, 0, 0, int64(f.size)); err != nil {
		if errors.Is(err, unix.ENOSPC) {
			err = unix.ENOMEM
		}
		return fmt.Errorf("fallocate: %w", err)
	}
	// Sealed before it is shared. F_SEAL_SEAL last: it seals the seals.
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(f.fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

func (f *file) mapAll(sizes []int) ([]*Memory, error) {
	ms := make([]*Memory, len(sizes))
	at := 0
	for i, n := range sizes {
		p, err := unix.MmapPtr(f.fd, int64(at), nil, uintptr(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
		if err != nil {
			return nil, fmt.Errorf("mmap: %w", err)
		}
		m := &Memory{b: unsafe.Slice((*byte)(p), n), file: f, at: at}
		// Unmapped only when no writer and no reader can touch it any more.
		runtime.AddCleanup(m, func(b []byte) {
			unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
		}, m.b)
		ms[i] = m
		at += n
	}
	f.uses = len(ms)
	return ms, nil
}

func (m *Memory) release() error {
	f := m.file
	if f == nil {
		return nil
	}
	// In place of the shared pages come private ones that take no memory until
	// somebody stores to them: a writer in mid-copy needs no reference count.
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(unsafe.SliceData(m.b)), uintptr(len(m.b)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_FIXED)
	if err = errors.Join(err, f.leave(m)); err != nil {
		return fmt.Errorf("ring memory: release: %w", err)
	}
	return nil
}

// leave closes the file with the last memory in it. Before that, m's pages are
// taken out of it.
func (f *file) leave(m *Memory) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.uses--; f.uses > 0 {
		return unix.Fallocate(f.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(m.at), int64(len(m.b)))
	}
	return unix.Close(f.fd)
}
