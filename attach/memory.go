package attach

import (
	"errors"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// The memory of an attached socket's rings is the reader's: its process allocates it,
// and its memory cgroup is charged. The server maps it, too, but its writers get to it
// only when nobody can take pages out of it any more. A page fault would be on the path
// of every other reader's packets, and a page that is missing would be charged to the
// server. So:
//
//	client                      server
//	memfd, all allocated
//	opMap, with the memfd  →    checks it, seals its size, maps it, touches nothing
//	mmap, writable
//	opMapped               →    seals it against holes and further writable mappings
//	                            (F_SEAL_FUTURE_WRITE), checks that it has no holes,
//	                            enters its pages, and moves the rings there
//
// Until then the rings lie in private memory of the server, with the packets that
// have come already.

// memory is what Map returned for a socket's rings.
type memory struct {
	fd     int
	sealed bool // the server knows that it was mapped, and nobody can map it any more
}

// SetMapped has the socket ask f whether any process has the memory that Map returned
// mapped: see [rxring.Socket.SetMapped].
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

// Map makes memory for the socket's rings in this process, size bytes, and returns the
// memfd to map, writable and from its start. The descriptor stays the socket's. The
// rings are in it once [Socket.Mapped] was called, which the caller must do when it has
// mapped it.
//
// EINVAL when there is no ring, or for another size than that of all; EBUSY when the
// rings are mapped already, as far as SetMapped's function knows: they can be mapped
// in several places only before the call of Mapped.
func (s *Socket) Map(size int) (fd int, err error) {
	s.mapping.Lock()
	defer s.mapping.Unlock()
	if err := s.offer(size, -1); err != nil {
		return -1, err
	}
	if fd, err := s.mappable(); fd >= 0 || err != nil {
		return fd, err
	}
	if fd, err = newMemory(size); err != nil {
		return -1, err
	}
	if err := s.offer(size, fd); err != nil {
		closeFD(fd)
		return -1, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replaceMemoryLocked(&memory{fd: fd})
	return fd, nil
}

// mappable is memory that can still be mapped, -1 when new memory is needed.
func (s *Socket) mappable() (fd int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.memory == nil:
		return -1, nil
	case !s.memory.sealed:
		return s.memory.fd, nil
	case s.isMappedLocked():
		return -1, explain.Errorf(syscall.EBUSY, "attach: the ring is mapped already, and another process's ring cannot be mapped again: unmap it first")
	}
	return -1, nil
}

// offer says how large a mapping is to be, and offers memory for it unless fd is
// negative.
func (s *Socket) offer(size, fd int) error {
	return s.callWith(fd, opMap, func(m *message) { m.u64(uint64(size)) }, nil)
}

// Mapped says that the memory which Map returned is mapped. The rings are in it from
// then on, with the packets that came before; it cannot be mapped writable any more,
// nor can pages be taken out of it. When there is nothing to say, Mapped does nothing.
//
// The rings stay where they are if the server refuses the memory: EINVAL if it has
// holes or the rings were exchanged since, EOPNOTSUPP if its Linux, before 5.1, cannot seal
// it.
func (s *Socket) Mapped() error {
	s.mapping.Lock()
	defer s.mapping.Unlock()
	s.mu.Lock()
	m := s.memory
	s.mu.Unlock()
	if m == nil || m.sealed {
		return nil
	}
	err := s.call(opMapped, nil, nil)
	if err != nil && !errors.Is(err, errDetached) {
		s.forgetMemory()
		return err
	}
	s.mu.Lock()
	m.sealed = true
	s.mu.Unlock()
	return err
}

// Memory is the memfd that Map returned last, -1 for none. It stays the socket's.
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
	s.memory = m
}
