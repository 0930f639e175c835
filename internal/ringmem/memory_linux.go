package ringmem

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MemfdName is what /proc/PID/fd shows of ring memory.
const MemfdName = "rxring"

func newAll(sizes []int) ([]*Memory, error) {
	f := new(file)
	for _, n := range sizes {
		f.size += n
	}
	var err error
	// Sealed before it is shared. F_SEAL_SEAL seals the seals.
	if f.fd, err = newMemfd(f.size, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, err
	}
	ms, err := f.mapAll(sizes)
	if err != nil {
		unix.Close(f.fd)
		return nil, fmt.Errorf("ring memory of %d bytes: %w", f.size, err)
	}
	return ms, nil
}

// NewMemfd makes a memfd of size bytes, all allocated and charged to the caller's
// memory cgroup. It is sealed against growing and shrinking, and can be sealed further.
// The error unwraps to the errno (ENOMEM, EMFILE).
func NewMemfd(size int) (fd int, err error) {
	return newMemfd(size, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
}

func newMemfd(size, seals int) (fd int, err error) {
	if fd, err = memfd(); err != nil {
		return -1, fmt.Errorf("ring memory: memfd_create: %w", err)
	}
	if err = allocate(fd, size); err == nil {
		if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
			err = fmt.Errorf("seal: %w", err)
		}
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("ring memory of %d bytes: %w", size, err)
	}
	return fd, nil
}

// memfd makes a memfd that cannot be executed, where Linux knows that flag (6.3).
func memfd() (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(MemfdName, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(MemfdName, flags)
	}
	return fd, err
}

func allocate(fd, size int) error {
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return fmt.Errorf("ftruncate: %w", err)
	}
	allocateHuge(fd, size)
	// Allocate the pages now, as the kernel does for its own ring: too little memory
	// is an error here, and not a fault in a writer later.
	if err := unix.Fallocate(fd, 0, 0, int64(size)); err != nil {
		if errors.Is(err, unix.ENOSPC) {
			err = unix.ENOMEM
		}
		return fmt.Errorf("fallocate: %w", err)
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

// Map maps size bytes of a ring that fd stands for: a packet socket, or a
// memfd. The descriptor may be closed afterwards. As with
// memory that was made here, what is touched after Close is private and of no use,
// but no fault.
func Map(fd, size int) (*Memory, error) {
	ms, err := MapAll(fd, size)
	if err != nil {
		return nil, err
	}
	return ms[0], nil
}

// MapAll is Map for several that lie one behind the other in fd. All sizes
// but the last must be multiples of the page size. No page is touched.
func MapAll(fd int, sizes ...int) ([]*Memory, error) {
	ms := make([]*Memory, len(sizes))
	at := 0
	for i, n := range sizes {
		if n <= 0 {
			return nil, fmt.Errorf("ring memory: %d bytes: want at least 1", n)
		}
		ms[i] = &Memory{foreign: true, at: at}
		if err := ms[i].mapShared(fd, n, 0); err != nil {
			return nil, fmt.Errorf("ring memory of %d bytes: %w", n, err)
		}
		at += n
	}
	return ms, nil
}

// Populate enters the memory's pages into this process's page tables, and locks them
// there where RLIMIT_MEMLOCK allows: writers then meet no page fault, whatever is
// reclaimed or swapped. It leaves the contents as they are, and allocates pages
// where the file has holes.
func (m *Memory) Populate() error {
	// Linux holds mmap_lock for the whole call: 100 ms for a large ring, in which no
	// thread of the process could map anything.
	for b := range hugePages(m.b) {
		if err := populate(b); err != nil {
			return fmt.Errorf("ring memory of %d bytes: populate: %w", len(m.b), err)
		}
	}
	runtime.KeepAlive(m)
	return nil
}

// populate is Populate for b, which begins with a page.
func populate(b []byte) error {
	if unix.Mlock(b) == nil {
		return nil
	}
	err := unix.Madvise(b, unix.MADV_POPULATE_WRITE)
	if errors.Is(err, unix.EINVAL) { // before Linux 5.14
		for i := 0; i < len(b); i += unix.Getpagesize() {
			atomic.AddUint32((*uint32)(unsafe.Pointer(&b[i])), 0)
		}
		return nil
	}
	return err
}

func newPrivate(size int) (*Memory, error) {
	m := &Memory{private: true}
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, privateFlags)
	if err != nil {
		return nil, fmt.Errorf("ring memory of %d bytes: mmap: %w", size, err)
	}
	m.adopt(p, size)
	return m, nil
}

// privateFlags map memory whose pages are allocated by the first store to them.
const privateFlags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE

// mapShared maps size bytes of fd, from m.at on.
func (m *Memory) mapShared(fd, size, flags int) error {
	p, err := mapAligned(fd, m.at, size, flags)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	m.adopt(p, size)
	return nil
}

// adopt makes a mapping m's bytes.
func (m *Memory) adopt(p unsafe.Pointer, size int) {
	m.b = unsafe.Slice((*byte)(p), size)
	// Unmapped only when no writer and no reader can touch it any more.
	runtime.AddCleanup(m, func(b []byte) {
		unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
	}, m.b)
}

func (m *Memory) release() error {
	if m.file == nil && !m.foreign && !m.private {
		return nil
	}
	// Private pages replace the shared ones, allocated by the first store to them: a
	// writer in mid-copy needs no reference count.
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(unsafe.SliceData(m.b)), uintptr(len(m.b)),
		unix.PROT_READ|unix.PROT_WRITE, privateFlags|unix.MAP_FIXED)
	if m.file != nil {
		err = errors.Join(err, m.file.leave(m))
	}
	if err != nil {
		return fmt.Errorf("ring memory: release: %w", err)
	}
	return nil
}

// leave frees m's pages in the file, and closes the file with its last memory. Closing
// alone would not free pages that another process has open or mapped.
func (f *file) leave(m *Memory) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := unix.Fallocate(f.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(m.at), int64(len(m.b)))
	if f.uses--; f.uses == 0 {
		err = errors.Join(err, unix.Close(f.fd))
	}
	return err
}
