package ringmem

import (
	"iter"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a huge page, on amd64 and on arm64 with small pages of 4 KiB. Where huge
// pages are larger, none fits, and memory has small pages.
const hugePage = 2 << 20

// allocateHuge allocates huge pages for the memfd's first size bytes: as many as fit, so that the
// memory takes what it would take with small ones. It stops at the first that Linux does not have;
// the rest of the file keeps its holes. MADV_COLLAPSE (Linux 6.1) disregards the files in
// /sys/kernel/mm/transparent_hugepage, except deny in shmem_enabled.
func allocateHuge(fd, size int) {
	size -= size % hugePage
	if size == 0 {
		return
	}
	p, err := mapAligned(fd, 0, size, 0) // pages stay in the file
	if err != nil {
		return
	}
	defer unix.MunmapPtr(p, uintptr(size))
	at := int64(0)
	for b := range hugePages(unsafe.Slice((*byte)(p), size)) {
		// Linux collapses what has a small page. A store would allocate it, but raise SIGBUS
		// where there is too little memory.
		if unix.Fallocate(fd, 0, at, 1) != nil || unix.Madvise(b, unix.MADV_COLLAPSE) != nil {
			return
		}
		at += hugePage
	}
}

// mapAligned maps size bytes of fd, from offset at on, at an address where huge pages of the file
// can be mapped as such, if there is one.
func mapAligned(fd, at, size, flags int) (unsafe.Pointer, error) {
	return unix.MmapPtr(fd, int64(at), alignedFor(at, size), uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|flags)
}

// alignedFor returns an address, a hint for mmap, that is free and as far from a multiple of
// hugePage as the offset; nil: any will do.
func alignedFor(at, size int) unsafe.Pointer {
	if size < hugePage {
		return nil
	}
	free, err := unix.MmapPtr(-1, 0, nil, uintptr(size+hugePage), unix.PROT_NONE, privateFlags)
	if err != nil {
		return nil
	}
	unix.MunmapPtr(free, uintptr(size+hugePage))
	return unsafe.Add(free, (uintptr(at)-uintptr(free))%hugePage)
}

// hugePages divides a mapping where huge pages begin.
func hugePages(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(len(b), hugePage-int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))%hugePage))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}
