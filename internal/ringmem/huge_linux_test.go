package ringmem_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/ringmem"
)

// needHugePages skips the test where Linux gives a memfd none.
func needHugePages(t *testing.T) {
	t.Helper()
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	fmt.Sscanf(unix.ByteSliceToString(kernel.Release[:]), "%d.%d", &major, &minor)
	if major < 6 || major == 6 && minor < 1 {
		need.Skip(t, need.Kernel, "Linux %d.%d has no MADV_COLLAPSE for a memfd: want 6.1", major, minor)
	}
	size, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
	if err != nil || strings.TrimSpace(string(size)) != fmt.Sprint(hugePage) {
		need.Skip(t, need.System, "huge pages have %s bytes (%v): want %d", size, err, hugePage)
	}
	enabled, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
	if err != nil || strings.Contains(string(enabled), "[deny]") {
		need.Skip(t, need.System, "shmem_enabled is %q (%v): no huge pages for a memfd", enabled, err)
	}
}

const hugePage = 2 << 20

// hugeBytes returns how many bytes of b are mapped as huge pages.
func hugeBytes(t *testing.T, b []byte) (n int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	inside := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var from, to uintptr
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); err == nil {
			inside = from < begin+uintptr(len(b)) && to > begin
		}
		var kib int
		if _, err := fmt.Sscanf(lines.Text(), "ShmemPmdMapped: %d kB", &kib); err == nil && inside {
			n += kib << 10
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// inMemory returns how many bytes of the file are.
func inMemory(t *testing.T, fd int) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// TestHugePages: memory has as many as fit, and takes no more than with small ones.
func TestHugePages(t *testing.T) {
	needHugePages(t)
	page := os.Getpagesize()
	for name, sizes := range map[string][]int{
		"one":                   {hugePage},
		"four and a half":       {9 * hugePage / 2},
		"a small page less":     {2*hugePage - page},
		"less than one":         {hugePage / 2},
		"part of the last page": {2*hugePage + 100},
		"two memories":          {3 * hugePage, 2 * hugePage},
		"unaligned":             {2*hugePage + page, 3 * hugePage},
	} {
		t.Run(name, func(t *testing.T) {
			ms, err := ringmem.NewAll(sizes...)
			if err != nil {
				t.Fatal(err)
			}
			all := 0
			for _, m := range ms {
				defer m.Close()
				first := (all + hugePage - 1) / hugePage // the first in the file that lies in this memory
				all += m.Size()
				want := max(all/hugePage-first, 0) * hugePage
				if got := hugeBytes(t, m.Bytes()); got != want {
					t.Errorf("a memory of %d bytes: %d in huge pages, want %d", m.Size(), got, want)
				}
				if i := bytes.IndexFunc(m.Bytes(), func(r rune) bool { return r != 0 }); i >= 0 {
					t.Errorf("byte %d is not 0", i)
				}
			}
			if got, want := inMemory(t, ms[0].FD()), int64(all+page-1)&^int64(page-1); got != want {
				t.Errorf("%d bytes are in memory, want %d", got, want)
			}
		})
	}
}

// TestHugePagesOfAnotherProcess: a descriptor's huge pages are mapped as such.
func TestHugePagesOfAnotherProcess(t *testing.T) {
	needHugePages(t)
	const size = 4*hugePage + 4096
	fd, err := ringmem.NewMemfd(size)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	m, err := ringmem.Map(fd, size)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Populate(); err != nil {
		t.Fatal(err)
	}
	if got := hugeBytes(t, m.Bytes()); got != size-4096 {
		t.Errorf("%d bytes are in huge pages, want %d", got, size-4096)
	}
}
