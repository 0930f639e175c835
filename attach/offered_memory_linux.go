package attach

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/ring"
)

func newMemory(size int) (fd int, err error) { return ring.NewMemfd(size) }

// checkMemory refuses what is no memfd of size bytes with small pages, and seals its
// size. The descriptor is a stranger's: nothing is asked of its file before it is
// known to be a memfd, because another file system may answer late or never.
func checkMemory(fd, size int) error {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return explain.Errorf(unix.EINVAL, "ring memory is no memfd: want one made with MFD_ALLOW_SEALING")
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if fs.Type != unix.TMPFS_MAGIC {
		return explain.Errorf(unix.EINVAL, "ring memory on a file system of type %#x: want a memfd without huge pages (%#x)", fs.Type, unix.TMPFS_MAGIC)
	}
	if err := sealAll(fd, seals, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Size != int64(size) {
		return explain.Errorf(unix.EINVAL, "ring memory of %d bytes: want %d", st.Size, size)
	}
	return nil
}

// sealHoles makes holes in the memory impossible, and writable mappings that are not
// there yet, and reports those holes that are there: EINVAL. EOPNOTSUPP before Linux 5.1.
func sealHoles(fd int) error {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if err := sealAll(fd, seals, unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_SEAL); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	// The peer may have allocated pages past the end (FALLOC_FL_KEEP_SIZE). st_blocks counts
	// them, so they would pass for pages of the ring. This frees them, and F_SEAL_GROW, set
	// in checkMemory, allows no more.
	if err := unix.Ftruncate(fd, st.Size); err != nil {
		return os.NewSyscallError("ftruncate", err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	const blockSize = 512 // of st_blocks
	if st.Blocks*blockSize < st.Size {
		return explain.Errorf(unix.EINVAL, "ring memory of %d bytes has holes: %d bytes are allocated, want all", st.Size, st.Blocks*blockSize)
	}
	return nil
}

// sealAll adds seals to those that a memfd has.
func sealAll(fd, has, want int) error {
	if has&want == want {
		return nil
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, want)
	switch {
	case errors.Is(err, unix.EINVAL):
		return explain.Errorf(unix.EOPNOTSUPP, "this kernel cannot seal ring memory against holes: want Linux 5.1 or later")
	case err != nil:
		return explain.Errorf(unix.EINVAL, "ring memory with seals %#x cannot be sealed further: want a memfd without F_SEAL_SEAL", has)
	}
	return nil
}

// lent is memory that a peer has for its socket's rings, and has not mapped yet as far
// as we know. The rings are not in it, and none of its pages is touched.
type lent struct {
	fd int
	ms []*ring.Memory
}

// newLent takes memory for rings of these sizes. The descriptor stays the caller's if
// there is an error.
func newLent(fd int, sizes []int) (*lent, error) {
	all := 0
	for _, n := range sizes {
		all += n
	}
	if err := checkMemory(fd, all); err != nil {
		return nil, err
	}
	ms, err := ring.MapMemories(fd, sizes...)
	if err != nil {
		return nil, err
	}
	return &lent{fd, ms}, nil
}

// seal makes the memory fit for writers, now that its peer has mapped it.
func (l *lent) seal() error {
	if err := sealHoles(l.fd); err != nil {
		return err
	}
	for _, m := range l.ms { // not before: pages for holes would be ours
		if err := m.Populate(); err != nil {
			return err
		}
	}
	return nil
}

// give hands the memory over to the rings.
func (l *lent) give() []*ring.Memory {
	ms := l.ms
	l.ms = nil
	return ms
}

// close forgets memory that was not given. A nil l is fine.
func (l *lent) close() {
	if l == nil {
		return
	}
	for _, m := range l.ms {
		m.Close()
	}
	closeFD(l.fd)
}
