package ring_test

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

func TestSharedMemoryCannotBeResizedOrUnsealed(t *testing.T) {
	m, err := ring.NewMemory(8192)
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
	// Whoever punches a hole gets zeroes: writers must not fault on it.
	if err := unix.Fallocate(m.FD(), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 8192); err != nil {
		t.Fatal(err)
	}
	m.Bytes()[4096] = 7
}

func TestClosedMemoryIsGivenBackAtOnce(t *testing.T) {
	m, err := ring.NewMemory(1 << 20)
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

// TestHostileReaderNeverGetsTwoWritersIntoOneSlot lets a reader that maps the
// memory itself store any status anywhere, at any time, while writers work.
func TestHostileReaderNeverGetsTwoWritersIntoOneSlot(t *testing.T) {
	for _, slots := range []uint32{2, 4} {
		r := sharedRing(t, tpacket.V2, slots, 2048)
		size := r.Geometry().Size()
		p, err := unix.MmapPtr(r.Memory().FD(), 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.MunmapPtr(p, uintptr(size))
		theirs := unsafe.Slice((*uint32)(p), size/4)

		var stop atomic.Bool
		var hostile, writers sync.WaitGroup
		hostile.Go(func() {
			rng := rand.New(rand.NewPCG(3, 4))
			for !stop.Load() {
				i := rng.IntN(len(theirs))
				if rng.IntN(2) == 0 { // a status word, not just any
					i = i / 512 * 512
				}
				atomic.StoreUint32(&theirs[i], []uint32{0, 1, rng.Uint32()}[rng.IntN(3)])
			}
		})
		inside := make([]atomic.Int32, slots)
		var accepted, dropped atomic.Uint64
		const each = 50000
		for range 4 {
			writers.Go(func() {
				for range each {
					slot, v := r.Acquire()
					if v != ring.Acquired {
						dropped.Add(1)
						continue
					}
					if n := inside[slot].Add(1); n != 1 {
						t.Errorf("%d writers in slot %d", n, slot)
					}
					clear(r.Frame(slot)[64:256])
					inside[slot].Add(-1)
					r.Release(slot, tpacket.StatusUser)
					accepted.Add(1)
				}
			})
		}
		writers.Wait()
		stop.Store(true)
		hostile.Wait()
		if accepted.Load()+dropped.Load() != 4*each || accepted.Load() != r.Captured() {
			t.Errorf("accepted %d (captured %d) + dropped %d, offered %d", accepted.Load(), r.Captured(), dropped.Load(), 4*each)
		}
		t.Logf("slots=%d: %d of %d accepted beside a hostile reader", slots, accepted.Load(), 4*each)
	}
}

// TestHostileReaderNeverGetsTwoWritersIntoTheSameBytes is the same with blocks:
// whatever the reader stores into their headers and packets, no byte has two
// writers, every packet is counted, and the ring goes on once all is given back.
func TestHostileReaderNeverGetsTwoWritersIntoTheSameBytes(t *testing.T) {
	for _, blocks := range []uint32{1, 2, 3} {
		g := tpacket.Geometry{Version: tpacket.V3, BlockSize: 4096, BlockNr: blocks}
		m, err := ring.NewMemory(g.Size())
		if err != nil {
			t.Fatal(err)
		}
		b, err := ring.NewBlocks(m, g, ring.BlocksConfig{Retire: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		p, err := unix.MmapPtr(m.FD(), 0, nil, uintptr(g.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.MunmapPtr(p, uintptr(g.Size()))
		theirs := unsafe.Slice((*uint32)(p), g.Size()/4)

		var stop atomic.Bool
		var hostile, writers sync.WaitGroup
		hostile.Go(func() {
			rng := rand.New(rand.NewPCG(5, 6))
			for !stop.Load() {
				i := rng.IntN(len(theirs))
				switch block := i / 1024 * 1024; rng.IntN(4) {
				case 0, 1: // tp_status
					i = block + 2
				case 2: // the rest of the header: counts, offsets, sequence
					i = block + rng.IntN(12)
				}
				atomic.StoreUint32(&theirs[i], []uint32{0, 0, 0, 1, rng.Uint32()}[rng.IntN(5)])
				if rng.IntN(4) == 0 {
					runtime.Gosched()
				}
			}
		})
		inside := make([]atomic.Int32, g.Size()/8)
		var accepted, dropped atomic.Uint64
		const each = 20000
		for w := range 4 {
			writers.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(w), 7))
				for range each {
					n := 68 + rng.Uint32N(600)
					if rng.IntN(16) == 0 {
						n = b.MaxFrame() - rng.Uint32N(16)
					}
					room, v := b.Acquire(n)
					if v != ring.Acquired {
						dropped.Add(1)
						runtime.Gosched()
						continue
					}
					frame := b.Bytes(room)
					at := uintptr(unsafe.Pointer(&frame[0])) - uintptr(unsafe.Pointer(&m.Bytes()[0]))
					mine := inside[at/8:][:room.Size()/8]
					for i := range mine {
						if n := mine[i].Add(1); n != 1 {
							t.Errorf("%d writers in unit %d", n, at/8+uintptr(i))
						}
					}
					clear(frame)
					for i := range mine {
						mine[i].Add(-1)
					}
					b.Release(room)
					accepted.Add(1)
				}
			})
		}
		writers.Wait()
		stop.Store(true)
		hostile.Wait()
		if accepted.Load()+dropped.Load() != 4*each || accepted.Load() != b.Captured() {
			t.Errorf("accepted %d (captured %d) + dropped %d, offered %d", accepted.Load(), b.Captured(), dropped.Load(), 4*each)
		}
		for i := range 4 * blocks {
			for block := range blocks {
				atomic.StoreUint32(&theirs[block*1024+2], tpacket.StatusKernel)
			}
			room, v := b.Acquire(2000)
			if v == ring.Full { // it is this packet's block that the reader got
				atomic.StoreUint32(&theirs[2], tpacket.StatusKernel)
				room, v = b.Acquire(2000)
			}
			if v != ring.Acquired {
				t.Fatalf("packet %d after the reader gave everything back: %v", i, v)
			}
			b.Release(room)
		}
		t.Logf("blocks=%d: %d of %d accepted beside a hostile reader", blocks, accepted.Load(), 4*each)
	}
}

// TestMemoriesOfOneFileAreMappedTogether: two memories, mapped by somebody else
// in one go, and given back one by one.
func TestMemoriesOfOneFileAreMappedTogether(t *testing.T) {
	const page = 4096
	ms, err := ring.NewMemories(2*page, page)
	if err != nil {
		t.Fatal(err)
	}
	a, b := ms[0], ms[1]
	other, err := ring.NewMemory(page)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if !ring.Together(a, b) || ring.Together(a) || ring.Together(b) || ring.Together(b, a) || ring.Together(a, other) || !ring.Together(other) {
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

// TestClosedMemoryIsTakenFromWhoKeepsItMapped: a process that goes on holding the
// memfd and its mapping holds no pages of the ring's.
func TestClosedMemoryIsTakenFromWhoKeepsItMapped(t *testing.T) {
	const size = 1 << 20
	m, err := ring.NewMemory(size)
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
		m, err := ring.NewMemory(8 << 20)
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
