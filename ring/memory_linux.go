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
		ms[i] = &Memory{file: f, at: at}
		if err := ms[i].mapShared(f.fd, n, unix.MAP_POPULATE); err != nil {
			return nil, err
		}
		at += n
	}
	f.uses = len(ms)
	return ms, nil
}

// MapMemory maps size bytes of a ring that fd stands for: a packet socket, or a
// memfd of another process. The descriptor may be closed afterwards. As with
// memory that was made here, what is touched after Close is private and of no use,
// but no fault.
func MapMemory(fd, size int) (*Memory, error) {
	if size <= 0 {
		return nil, fmt.Errorf("ring memory: %d bytes: want at least 1", size)
	}
	m := &Memory{foreign: true}
	if err := m.mapShared(fd, size, 0); err != nil {
		return nil, fmt.Errorf("ring memory of %d bytes: %w", size, err)
	}
	return m, nil
}

// mapShared maps size bytes of fd, from m.at on.
func (m *Memory) mapShared(fd, size, flags int) error {
	p, err := unix.MmapPtr(fd, int64(m.at), nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|flags)
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
	if m.file == nil && !m.foreign {
		return nil
	}
	// In place of the shared pages come private ones that take no memory until
	// somebody stores to them: a writer in mid-copy needs no reference count.
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(unsafe.SliceData(m.b)), uintptr(len(m.b)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_FIXED)
	if m.file != nil {
		err = errors.Join(err, m.file.leave(m))
	}
	if err != nil {
		return fmt.Errorf("ring memory: release: %w", err)
	}
	return nil
}

// leave takes m's pages out of the file, and closes it with the last memory in it.
// Closing alone would leave the pages to who has the file open or mapped.
func (f *file) leave(m *Memory) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := unix.Fallocate(f.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(m.at), int64(len(m.b)))
	if f.uses--; f.uses == 0 {
		err = errors.Join(err, unix.Close(f.fd))
	}
	return err
}
