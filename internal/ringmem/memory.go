package ringmem

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Memory is memory that writers and a reader share. On Linux it is a sealed memfd,
// which no holder of the descriptor can resize; elsewhere, and with [NewHeap], it is
// on the Go heap.
type Memory struct {
	b    []byte
	file *file // nil: not in a memfd of this package's
	at   int   // where in the file

	foreign bool // a mapping of another process's file: see MapAll
	private bool // see NewPrivate

	once   sync.Once // of Close
	closed atomic.Bool
}

// file is a memfd with one or more memories, one behind the other.
type file struct {
	fd   int
	size int

	mu   sync.Mutex
	uses int // memories that are not closed
}

// New allocates size bytes, zeroed and present: no store of a writer faults for want of
// a page. The error unwraps to the errno (ENOMEM, EMFILE).
func New(size int) (*Memory, error) {
	ms, err := NewAll(size)
	if err != nil {
		return nil, err
	}
	return ms[0], nil
}

// NewAll is New for several that are mapped together: one behind the
// other in one memfd. All sizes but the last must be multiples of the page size.
func NewAll(sizes ...int) ([]*Memory, error) {
	for _, n := range sizes {
		if n <= 0 {
			return nil, fmt.Errorf("ring memory: %d bytes: want at least 1", n)
		}
	}
	return newAll(sizes)
}

// Together reports whether ms are all the memories of one memfd, in this order: a
// mapping from its start shows them all.
func Together(ms ...*Memory) bool {
	at := 0
	for _, m := range ms {
		if m.file == nil || m.file != ms[0].file || m.at != at {
			return false
		}
		at += len(m.b)
	}
	return at > 0 && at == ms[0].file.size
}

// NewHeap allocates size bytes on the Go heap: no other process can map
// them, and the race detector watches them.
func NewHeap(size int) *Memory {
	// Headers need 16-byte alignment, which Go gives to larger allocations.
	return &Memory{b: make([]byte, size)}
}

// NewPrivate reserves size bytes that no other process can map, zeroed. A page
// is allocated when it is first stored to, so memory that is never used costs none. The
// error unwraps to the errno (ENOMEM).
func NewPrivate(size int) (*Memory, error) {
	if size <= 0 {
		return nil, fmt.Errorf("ring memory: %d bytes: want at least 1", size)
	}
	return newPrivate(size)
}

// Bytes is the memory. It stays addressable, though no longer shared, after
// Close, for as long as m is reachable.
func (m *Memory) Bytes() []byte { return m.b }

// IsPrivate reports whether m is of [NewPrivate]: only this process has stored anything to it.
func (m *Memory) IsPrivate() bool { return m.private }

// Size is the memory's length in bytes.
func (m *Memory) Size() int { return len(m.b) }

// FD is the memfd to hand to a reader in another process, sealed against
// growing, shrinking and further sealing; -1 when there is none or m is closed.
// m closes it: duplicate it to keep it.
func (m *Memory) FD() int {
	if m.file == nil || m.closed.Load() {
		return -1
	}
	return m.file.fd
}

// Close frees the pages at once. Writers that still own a slot may go on storing:
// their stores go to private pages, which are freed when m is no longer reachable.
// Processes that mapped the memfd see zeros, and pay for what they store from then on.
func (m *Memory) Close() error {
	var err error
	m.once.Do(func() {
		m.closed.Store(true)
		err = m.release()
	})
	runtime.KeepAlive(m)
	return err
}
