package attach

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/ringmem"
)

func newMemfd(size int) (fd int, err error) { return ringmem.NewMemfd(size) }

// offeredMemory is memory that a peer offers for its socket's rings, and may not have mapped
// yet. The rings are not in it, and the server touches none of its pages.
type offeredMemory struct {
	fd       int
	memories []*ringmem.Memory
}

// newOfferedMemory maps fd for rings of these sizes. On an error, fd stays the caller's.
func newOfferedMemory(fd int, sizes []int) (*offeredMemory, error) {
	sum := 0
	for _, n := range sizes {
		sum += n
	}
	if err := checkMemory(fd, sum); err != nil {
		return nil, err
	}
	ms, err := ringmem.MapAll(fd, sizes...)
	if err != nil {
		return nil, err
	}
	return &offeredMemory{fd, ms}, nil
}

// seal makes the memory safe for writers. Its peer must have mapped it.
func (o *offeredMemory) seal() error {
	if err := sealHoles(o.fd); err != nil {
		return err
	}
	for _, m := range o.memories { // not before: pages for holes would be charged to this process
		if err := m.Populate(); err != nil {
			return err
		}
	}
	return nil
}

// take returns the memories, which close does not close any more.
func (o *offeredMemory) take() []*ringmem.Memory {
	ms := o.memories
	o.memories = nil
	return ms
}

// close unmaps the memory, unless it was taken. A nil o is valid.
func (o *offeredMemory) close() {
	if o == nil {
		return
	}
	for _, m := range o.memories {
		m.Close()
	}
	closeFD(o.fd)
}

// checkMemory returns EINVAL unless fd is a memfd of size bytes with small pages, and seals
// its size. A peer sent fd: no call that its file system serves may come before the check
// that it is a memfd, because another file system may answer late or never.
func checkMemory(fd, size int) error {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return explain.Errorf(unix.EINVAL, "ring memory is not a memfd: want one made with MFD_ALLOW_SEALING")
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	if fs.Type != unix.TMPFS_MAGIC {
		return explain.Errorf(unix.EINVAL, "ring memory on a file system of type %#x: want a memfd without huge pages (%#x)", fs.Type, unix.TMPFS_MAGIC)
	}
	if err := addSeals(fd, seals, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW); err != nil {
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

// sealHoles prevents holes in the memory and further writable mappings. It returns EINVAL
// if there are holes already, and EOPNOTSUPP before Linux 5.1.
func sealHoles(fd int) error {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if err := addSeals(fd, seals, unix.F_SEAL_FUTURE_WRITE|unix.F_SEAL_SEAL); err != nil {
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

// addSeals adds seals to those that a memfd has.
func addSeals(fd, has, want int) error {
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
