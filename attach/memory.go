package attach

import (
	"errors"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// The reader's process allocates the memory of an attached socket's rings, so that it is
// charged to the reader's memory cgroup. The server maps it, too, but its writers may use it
// only when no page can be removed any more: a page fault would delay every other reader's
// packets, and the page would be charged to the server.
//
//	client                      server
//	memfd, all allocated
//	opMap, with the memfd  →    checks it, seals its size, maps it, touches no page
//	mmap, writable
//	opMapped               →    seals it against holes and further writable mappings
//	                            (F_SEAL_FUTURE_WRITE), checks that it has no holes,
//	                            populates its page tables, and moves the rings there
//
// Until then the rings lie in private memory of the server, with the packets that have
// arrived already.

// memory is the memfd that Map returned.
type memory struct {
	fd     int
	size   int  // bytes
	sealed bool // the server has sealed it: it cannot be mapped writable any more
}

// SetMapped sets the function that reports whether any process has mapped the memory that
// Map returned: see [rxring.Socket.SetMapped].
func (s *Socket) SetMapped(f func(memfd int) bool) {
	s.mu.Lock()
	s.mapped = f
	s.mu.Unlock()
}

func (s *Socket) isMapped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isMappedLocked()
}

func (s *Socket) isMappedLocked() bool {
	return s.mapped != nil && s.memory != nil && s.mapped(s.memory.fd)
}

// Map allocates size bytes for the socket's rings in this process, and returns the memfd to
// map, writable and from offset 0. The socket owns the descriptor. The caller must call
// [Socket.Mapped] after it has mapped the memory: only then the rings move there.
//
// EINVAL: there is no ring, or size is not the size of all rings. EBUSY: the rings are
// mapped already, according to SetMapped's function. They can be mapped several times only
// before the call of Mapped.
func (s *Socket) Map(size int) (fd int, err error) {
	s.mapMu.Lock()
	defer s.mapMu.Unlock()
	if err := s.offer(size, -1); err != nil {
		return -1, err
	}
	if fd, err := s.mappable(); fd >= 0 || err != nil {
		return fd, err
	}
	if fd, err = newMemfd(size); err != nil {
		return -1, err
	}
	if err := s.offer(size, fd); err != nil {
		closeFD(fd)
		return -1, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replaceMemoryLocked(&memory{fd: fd, size: size})
	return fd, nil
}

// mappable returns memory that can still be mapped, -1 if new memory is needed.
func (s *Socket) mappable() (fd int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.memory == nil:
		return -1, nil
	case !s.memory.sealed:
		return s.memory.fd, nil
	case s.isMappedLocked():
		return -1, explain.Errorf(syscall.EBUSY, "attach: the ring is mapped already, and an attached ring can be mapped only once: unmap it first")
	}
	return -1, nil
}

// offer has the server check the size of a mapping, and offers memory for it unless fd is
// negative.
func (s *Socket) offer(size, fd int) error {
	return s.callWithFD(fd, opMap, func(m *message) { m.u64(uint64(size)) }, nil)
}

// Mapped moves the rings, with the packets in them, to the memory that Map returned, which
// the caller has mapped. The memory is sealed: it cannot be mapped writable any more, and no
// page can be removed from it. If no unsealed memory is left, Mapped does nothing.
//
// If the server refuses the memory, the rings stay where they are. EINVAL: it has holes, or
// the rings were exchanged since. EOPNOTSUPP: the server runs on Linux before 5.1, which
// cannot seal it.
func (s *Socket) Mapped() error {
	s.mapMu.Lock()
	defer s.mapMu.Unlock()
	s.mu.Lock()
	m := s.memory
	s.mu.Unlock()
	if m == nil || m.sealed {
		return nil
	}
	view := s.viewRing(m)
	err := s.call(opMapped, nil, nil)
	if err != nil && !errors.Is(err, errDetached) {
		view.close()
		s.forgetMemory()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.sealed = true
	if s.memory == m {
		s.poller.view.Store(view)
	} else {
		view.close()
	}
	return err
}

// viewRing maps the receive ring in m to read its status words. Without it, each poll asks the
// server, so an error does no harm.
func (s *Socket) viewRing(m *memory) *ringView {
	g, ok := s.Geometry()
	if !ok {
		return nil
	}
	v, err := newRingView(m.fd, m.size, g)
	if err != nil {
		return nil
	}
	s.poller.wakes.Store(s.client.wakesFor(g))
	return v
}

// Memory returns the memfd that Map returned last, -1 for none. The socket owns it.
func (s *Socket) Memory() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory == nil {
		return -1
	}
	return s.memory.fd
}

func (s *Socket) forgetMemory() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replaceMemoryLocked(nil)
}

func (s *Socket) replaceMemoryLocked(m *memory) {
	if s.memory != nil {
		closeFD(s.memory.fd)
	}
	s.poller.view.Swap(nil).close()
	s.memory = m
}
