package ringmem_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/ringmem"
)

func TestSharedMemoryCannotBeResizedOrUnsealed(t *testing.T) {
	m, err := ringmem.New(8192)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for name, err := range map[string]error{
		"shrink": unix.Ftruncate(m.FD(), 0),
		"grow":   unix.Ftruncate(m.FD(), 1<<20),
		"seal": func() error {
			_, err := unix.FcntlInt(uintptr(m.FD()), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
			return err
		}(),
	} {
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v, want %v", name, err, unix.EPERM)
		}
	}
	if _, err := unix.Pwrite(m.FD(), []byte{1}, 8192); err == nil {
		t.Error("a write past the end grew the memory")
	}
	// A process that punches a hole gets zeroes: writers must not fault on it.
	if err := unix.Fallocate(m.FD(), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 8192); err != nil {
		t.Fatal(err)
	}
	m.Bytes()[4096] = 7
}

func TestClosedMemoryIsGivenBackAtOnce(t *testing.T) {
	m, err := ringmem.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	m.Bytes()[0] = 1
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if m.FD() != -1 {
		t.Errorf("descriptor %d after close", m.FD())
	}
	if m.Bytes()[0] != 0 {
		t.Error("the shared page is still mapped")
	}
	if err := m.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// TestMemoriesOfOneFileAreMappedTogether: two memories, mapped by another process
// in one go, and given back one by one.
func TestMemoriesOfOneFileAreMappedTogether(t *testing.T) {
	const page = 4096
	ms, err := ringmem.NewAll(2*page, page)
	if err != nil {
		t.Fatal(err)
	}
	a, b := ms[0], ms[1]
	other, err := ringmem.New(page)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if !ringmem.Together(a, b) || ringmem.Together(a) || ringmem.Together(b) || ringmem.Together(b, a) || ringmem.Together(a, other) || !ringmem.Together(other) {
		t.Error("which memories one mapping shows is wrong")
	}
	mapped, err := unix.Mmap(a.FD(), 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	a.Bytes()[1], b.Bytes()[1] = 1, 2
	if mapped[1] != 1 || mapped[2*page+1] != 2 {
		t.Errorf("mapped together, they show %d and %d", mapped[1], mapped[2*page+1])
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if a.FD() != -1 || b.FD() < 0 || mapped[1] != 0 {
		t.Errorf("the first one is closed: descriptors %d, %d; its page still holds %d", a.FD(), b.FD(), mapped[1])
	}
	var st unix.Stat_t
	if err := unix.Fstat(b.FD(), &st); err != nil || st.Size != 3*page || st.Blocks*512 > 2*page { // one page came back as we looked
		t.Errorf("the file has %d bytes, %d of them in memory (%v)", st.Size, st.Blocks*512, err)
	}
	b.Bytes()[2] = 3
	if mapped[2*page+2] != 3 {
		t.Error("the second one's pages are gone")
	}
	if err := b.Close(); err != nil || b.FD() != -1 {
		t.Errorf("close: %v, descriptor %d", err, b.FD())
	}
}

// TestClosedMemoryIsTakenFromProcessesThatMapIt: a process that goes on holding the
// memfd and its mapping holds no pages of the ring's.
func TestClosedMemoryIsTakenFromProcessesThatMapIt(t *testing.T) {
	const size = 1 << 20
	m, err := ringmem.New(size)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(m.FD())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	mapped, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mapped)
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	m.Bytes()[size-1] = 7
	if got := blocks(); got < size || mapped[size-1] != 7 {
		t.Fatalf("%d bytes are in memory, want %d at least; the last one is %d, want 7", got, size, mapped[size-1])
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if got := blocks(); got != 0 {
		t.Errorf("%d bytes are in memory after Close, want none", got)
	}
	if mapped[size-1] != 0 { // no fault either
		t.Errorf("the last byte is %d after Close, want 0", mapped[size-1])
	}
}

// BenchmarkMemory is what a ring's memory costs to make and to close.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		m, err := ringmem.New(8 << 20)
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
