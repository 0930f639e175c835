package hostile

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What else the reader of a ring can do with its mapping of the memory, which the daemon's
// writers have mapped, too: whatever takes an entry out of the daemon's page tables, or
// holds a lock that a fault needs, would show in others' delay.

type trick struct {
	name string
	do   func(fd int, b []byte) error
}

var _ = register(attack{
	name: "mapping/advice", does: "advises the kernel about its mapping of a ring, in all ways", nice: 19,
	run: func(ctx context.Context, at string) (string, error) {
		return play(ctx, at,
			trick{"pageout", advise(unix.MADV_PAGEOUT)},
			trick{"cold", advise(unix.MADV_COLD)},
			trick{"dontneed", advise(unix.MADV_DONTNEED)},
			trick{"free", advise(unix.MADV_FREE)},
			trick{"collapse", advise(unix.MADV_COLLAPSE)}, // into huge pages
			trick{"hugepage", advise(unix.MADV_HUGEPAGE)},
			trick{"mergeable", advise(unix.MADV_MERGEABLE)},
			trick{"allocate", allocate},
			trick{"sync", synchronize})
	},
})

var _ = register(attack{
	name: "mapping/tables", does: "changes, moves and copies its mapping of a ring", nice: 19,
	run: func(ctx context.Context, at string) (string, error) {
		return play(ctx, at,
			trick{"protect", protect},
			trick{"lock", lock},
			trick{"fork", func(int, []byte) error { return exec.Command("/bin/true").Run() }},
			trick{"move_pages", movePages},
			trick{"mbind", bindMemory},
			trick{"remap", remap},
			trick{"map to read", readOnly},
			trick{"userfaultfd", watchFaults})
	},
})

// play does one trick after the other with a ring of 32 MiB, and hands back all packets.
func play(ctx context.Context, at string, tricks ...trick) (string, error) {
	c, s, err := hostileSocket(ctx, at)
	if err != nil {
		return "", err
	}
	defer c.Close()
	const size, slot = 32 << 20, 2048
	fd, b, err := mapOwn(c, s, size, slot)
	if err != nil {
		return "", err
	}
	if err := s.Mapped(); err != nil {
		return "", err
	}
	tallies := make([]tally, len(tricks))
	for i := 0; ctx.Err() == nil && c.Err() == nil; i++ {
		n := i % len(tricks)
		tallies[n].note(tricks[n].do(fd, b))
		for at := 0; at < size; at += slot {
			b[at] = 0
		}
		pause(ctx, time.Millisecond)
	}
	var did strings.Builder
	for i := range tricks {
		fmt.Fprintf(&did, "%s: %v; ", tricks[i].name, &tallies[i])
	}
	return did.String(), nil
}

func advise(how int) func(int, []byte) error {
	return func(_ int, b []byte) error { return unix.Madvise(b, how) }
}

func allocate(fd int, b []byte) error { return unix.Fallocate(fd, 0, 0, int64(len(b))) }

func synchronize(fd int, b []byte) error {
	return errors.Join(unix.Msync(b, unix.MS_SYNC|unix.MS_INVALIDATE), unix.Fsync(fd), unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
}

func protect(_ int, b []byte) error {
	return errors.Join(unix.Mprotect(b, unix.PROT_NONE), unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE))
}

func lock(_ int, b []byte) error {
	return errors.Join(unix.Mlock(b[:1<<20]), unix.Munlock(b[:1<<20]))
}

// movePages asks for each page to be moved to where it is (move_pages(2)).
func movePages(_ int, b []byte) error {
	const moveMine = 1 << 1 // MPOL_MF_MOVE
	n := len(b) / unix.Getpagesize()
	pages, nodes, status := make([]unsafe.Pointer, n), make([]int32, n), make([]int32, n)
	for i := range pages {
		pages[i] = unsafe.Pointer(&b[i*unix.Getpagesize()])
	}
	_, _, errno := unix.Syscall6(unix.SYS_MOVE_PAGES, 0, uintptr(n), uintptr(unsafe.Pointer(&pages[0])), uintptr(unsafe.Pointer(&nodes[0])), uintptr(unsafe.Pointer(&status[0])), moveMine)
	runtime.KeepAlive(pages)
	return is(errno)
}

// bindMemory binds the mapping to node 0, and has what is elsewhere moved there.
func bindMemory(_ int, b []byte) error {
	const bind, move = 2, 1 << 1 // MPOL_BIND, MPOL_MF_MOVE
	node := uint64(1)
	_, _, errno := unix.Syscall6(unix.SYS_MBIND, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), bind, uintptr(unsafe.Pointer(&node)), 64, move)
	return is(errno)
}

// remap has the same pages mapped a second time, which no seal forbids (a length of 0 to
// mremap(2)), and removes pages through that.
func remap(_ int, b []byte) error {
	p, _, errno := unix.Syscall6(unix.SYS_MREMAP, uintptr(unsafe.Pointer(&b[0])), 0, uintptr(len(b)), unix.MREMAP_MAYMOVE, 0, 0)
	if errno != 0 {
		return errno
	}
	_, _, removed := unix.Syscall(unix.SYS_MADVISE, p, uintptr(len(b)), unix.MADV_REMOVE)
	_, _, errno = unix.Syscall(unix.SYS_MUNMAP, p, uintptr(len(b)), 0)
	return errors.Join(is(errno), is(removed))
}

// watchFaults asks for the faults of the mapping to be handed to this process.
func watchFaults(_ int, b []byte) error {
	const (
		userModeOnly = 1
		api          = 0xc018aa3f // UFFDIO_API
		register     = 0xc020aa00 // UFFDIO_REGISTER
		missing      = 1          // UFFDIO_REGISTER_MODE_MISSING
	)
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|userModeOnly, 0, 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd))
	hello := [3]uint64{0xaa}
	if _, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, api, uintptr(unsafe.Pointer(&hello))); errno != 0 {
		return fmt.Errorf("UFFDIO_API: %w", errno)
	}
	what := [4]uint64{uint64(uintptr(unsafe.Pointer(&b[0]))), uint64(len(b)), missing}
	_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, register, uintptr(unsafe.Pointer(&what)))
	return is(errno)
}

// readOnly maps the memory once more, to be read, and removes pages through that.
func readOnly(fd int, ring []byte) error {
	b, err := unix.Mmap(fd, 0, len(ring), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return errors.Join(unix.Madvise(b, unix.MADV_REMOVE), unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE), unix.Munmap(b))
}

func is(errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
