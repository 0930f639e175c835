package rxring

import (
	"slices"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/ring"
)

// A socket's rings are mapped in one piece, the receive ring first, as packet_mmap
// does (net/packet/af_packet.c). In a namespace of its reader's process they lie in a
// memfd of this process's: see Map. A reader in another process brings the memory:
// until it has mapped it the rings lie in private memory, and then they move there.

// Map makes the socket's rings ready to be mapped in one piece of size bytes, the
// receive ring first, as packet_mmap does, and returns the memfd that they are, see
// [ring.Memory.FD]. EINVAL when there is no ring, or for another size than that of
// all; ENOMEM when there is no memory to put them together.
//
// To do that it may move the rings, with all that is in them. Nobody may have one
// mapped by then, nor go on with a [ring.Reader] of one; packets that come in that
// moment are dropped and counted.
func (s *Socket) Map(size int) (fd int, err error) {
	s.txMu.Lock()
	defer s.txMu.Unlock()
	err = s.do("mmap", func() error {
		if err := s.checkMapLocked(size); err != nil {
			return err
		}
		if s.private {
			return explain.Errorf(syscall.EINVAL, "the rings are private: want memory for them, see MoveRings")
		}
		if !ring.Together(s.memories()...) {
			fresh, err := ring.NewMemories(s.ringSizesLocked()...)
			if err != nil {
				return err
			}
			if err := s.moveRingsLocked(fresh); err != nil {
				return err
			}
		}
		if fd = s.memories()[0].FD(); fd < 0 {
			return explain.Errorf(syscall.EINVAL, "on this system rings lie in no memfd")
		}
		return nil
	})
	return fd, err
}

// checkMapLocked refuses another size than that of all rings.
func (s *Socket) checkMapLocked(size int) error {
	all := 0
	for _, n := range s.ringSizesLocked() {
		all += n
	}
	if all == 0 || size != all {
		return explain.Errorf(syscall.EINVAL, "%d bytes: want those of all rings, %d", size, all)
	}
	return nil
}

// KeepRingsPrivate has rings that are made from now on lie in memory of this process
// that nobody else can map, until MoveRings. Map is refused.
func (s *Socket) KeepRingsPrivate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.private = true
}

// CheckMap reports whether mmap of size bytes of the socket has something to map:
// EINVAL as from Map. The rings' sizes are in the order in which they are mapped.
func (s *Socket) CheckMap(size int) (sizes []int, err error) {
	err = s.do("mmap", func() error {
		sizes = s.ringSizesLocked()
		return s.checkMapLocked(size)
	})
	return sizes, err
}

// MoveRings moves the rings, with all that is in them, into ms, one for each, of the
// sizes that CheckMap returned: EINVAL otherwise. It takes ms over, and closes them if
// there is an error. Packets that come in that moment are dropped and counted.
func (s *Socket) MoveRings(ms []*ring.Memory) error {
	s.txMu.Lock()
	defer s.txMu.Unlock()
	untaken := true
	err := s.do("mmap", func() error {
		sizes := make([]int, len(ms))
		for i, m := range ms {
			sizes[i] = m.Size()
		}
		if want := s.ringSizesLocked(); !slices.Equal(sizes, want) {
			return explain.Errorf(syscall.EINVAL, "memory of %d bytes for rings of %d bytes: the rings were exchanged, map them again", sizes, want)
		}
		untaken = false
		return s.moveRingsLocked(ms)
	})
	if untaken {
		closeAll(ms)
	}
	return err
}

func closeAll(ms []*ring.Memory) {
	for _, m := range ms {
		m.Close()
	}
}

func (s *Socket) ringSizesLocked() (sizes []int) {
	for _, m := range s.memories() {
		sizes = append(sizes, m.Size())
	}
	return sizes
}

// memories lists the rings' memory, as it is to be mapped.
func (s *Socket) memories() (ms []*ring.Memory) {
	if s.ring != nil {
		ms = append(ms, s.ring.Memory())
	}
	if s.txRing != nil {
		ms = append(ms, s.txRing.Memory())
	}
	return ms
}

// moveRingsLocked puts the rings into fresh memory.
func (s *Socket) moveRingsLocked(fresh []*ring.Memory) error {
	defer func() { closeAll(fresh) }() // those that no ring took over
	if s.ring != nil {
		var (
			moved ring.Buffer
			err   error
		)
		switch b := s.ring.(type) {
		case *ring.Ring:
			moved, err = b.Move(fresh[0])
		case *ring.Blocks:
			moved, err = b.Move(fresh[0])
		}
		if err != nil {
			return explain.Errorf(syscall.EINVAL, "%w", err)
		}
		fresh = fresh[1:]
		s.ring = moved
		s.counters.Moved(moved)
		s.publish()
		s.notify.Wake()
	}
	if s.txRing != nil {
		moved, err := s.txRing.Move(fresh[0])
		if err != nil {
			return err
		}
		fresh = fresh[1:]
		s.txRing = moved
		s.publish()
	}
	return nil
}
