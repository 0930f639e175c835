package ring

import (
	"fmt"
	"runtime"
	"sync"
)

// Memory is the bytes that writers and the reader share. On Linux they lie in
// a sealed memfd, so that no holder of the descriptor can resize them under
// the others; elsewhere, and with [NewHeapMemory], on the Go heap.
type Memory struct {
	b  []byte
	fd int // -1: not a memfd

	close sync.Once
}

// NewMemory allocates size bytes, zeroed and present: writers meet no page
// fault that must allocate. The error unwraps to the errno (ENOMEM, EMFILE).
func NewMemory(size int) (*Memory, error) {
	if size <= 0 {
		return nil, fmt.Errorf("ring memory: %d bytes: want at least 1", size)
	}
	return newMemory(size)
}

// NewHeapMemory allocates size bytes on the Go heap: no other process can map
// them, and the race detector watches them.
func NewHeapMemory(size int) *Memory {
	// Headers need 16-byte alignment, which Go gives to larger allocations.
	return &Memory{b: make([]byte, size), fd: -1}
}

// Bytes is the memory. It stays addressable, though no longer shared, after
// Close, for as long as m is reachable.
func (m *Memory) Bytes() []byte { return m.b }

// Size is the memory's length in bytes.
func (m *Memory) Size() int { return len(m.b) }

// FD is the memfd to hand to a reader in another process, sealed against
// growing, shrinking and further sealing; -1 when there is none or m is closed.
// It stays m's: duplicate it to keep it.
func (m *Memory) FD() int { return m.fd }

// Close gives the pages back to the system at once. Writers that still hold a
// slot may go on storing: what they store goes to private pages, which vanish
// when m is no longer reachable. Processes that mapped the memfd keep theirs.
func (m *Memory) Close() error {
	var err error
	m.close.Do(func() { err = m.release() })
	runtime.KeepAlive(m)
	return err
}
