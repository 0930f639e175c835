package rxring

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// SetRxRing gives the socket a receive ring, or takes it away when r.BlockNr is
// 0 (PACKET_RX_RING). On a V3 socket it is [Socket.SetRxRing3] with all else 0.
// See [tpacket.Layout] for what is refused; ENOMEM when the namespace's memory
// bound or the socket's [Budget] would be passed; EBUSY when there is a ring already, and while it is
// mapped (see SetMapped).
func (s *Socket) SetRxRing(r tpacket.Req) error { return s.SetRxRing3(tpacket.Req3{Req: r}) }

// SetRxRing3 is SetRxRing with what a V3 ring can be asked for beside its shape:
// after how many milliseconds a block goes to the reader though it is not full
// (0: 8), how much of each block is the reader's own, and
// [tpacket.FeatureFillRxhash]. V1 and V2 sockets look at the shape only.
func (s *Socket) SetRxRing3(r tpacket.Req3) error {
	return s.do("set PACKET_RX_RING", func() error {
		if s.isMappedLocked() {
			return errMapped
		}
		if r.BlockNr == 0 {
			if err := r.Teardown(); err != nil {
				return err
			}
			return s.replaceRingLocked(nil)
		}
		if s.ring != nil {
			return explain.Errorf(syscall.EBUSY, "the socket has a ring already, take it away first")
		}
		g, err := tpacket.Layout(s.version, r, s.reserve, os.Getpagesize())
		if err != nil {
			return err
		}
		var fresh writer.Buffer
		budget := s.budgetLocked()
		if s.version == tpacket.V3 {
			fresh, err = s.newBlocksLocked(g, r)
		} else {
			fresh, err = s.newSlotsLocked(g)
		}
		if err != nil {
			return err
		}
		err = s.replaceRingLocked(fresh)
		s.ringBudget = budget
		return err
	})
}

func (s *Socket) newSlotsLocked(g tpacket.Geometry) (writer.Buffer, error) {
	return newRingLocked(s, g, func(m *ringmem.Memory) (writer.Buffer, error) { return writer.New(m, g) })
}

// defaultRetire is Linux's for devices that do not say how fast they are
// (DEFAULT_PRB_RETIRE_TOV).
const defaultRetire = 8 * time.Millisecond

func (s *Socket) newBlocksLocked(g tpacket.Geometry, r tpacket.Req3) (writer.Buffer, error) {
	s.fillHash = r.FeatureReqWord&tpacket.FeatureFillRxhash != 0
	c := writer.BlocksConfig{
		SizeofPriv: r.SizeofPriv,
		Retire:     time.Duration(r.RetireBlkTov) * time.Millisecond,
		Losing:     s.counters.Losing,
		Wake:       s.notify.Wake,
	}
	if c.Retire == 0 {
		c.Retire = defaultRetire
	}
	return newRingLocked(s, g, func(m *ringmem.Memory) (writer.Buffer, error) { return writer.NewBlocks(m, g, c) })
}

// ringCost returns what a ring is charged to a budget, in bytes: its memory and the private
// state of its slots or blocks.
func ringCost(g tpacket.Geometry) int64 {
	const sequence, block = 8, 64 // bytes
	if g.Version == tpacket.V3 {
		return int64(g.Size()) + int64(g.BlockNr)*block
	}
	return int64(g.Size()) + int64(g.FrameNr)*sequence
}

// newRingLocked makes a ring for s within its budget and the namespace's limit.
func newRingLocked[R any](s *Socket, g tpacket.Geometry, of func(*ringmem.Memory) (R, error)) (r R, err error) {
	ns, budget, size := s.ns, s.budgetLocked(), int64(g.Size())
	if !budget.acquire(ringCost(g)) {
		return r, fmt.Errorf("ring of %d bytes: it takes %w: want a smaller ring, or a larger budget (max_memory of rxring serve)", size, budget.errExhausted(ringCost(g)))
	}
	if !ns.acquireMemory(budget, size) {
		budget.release(ringCost(g))
		return r, fmt.Errorf("ring of %d bytes: the namespace holds %d of at most %d bytes of ring memory: %w",
			size, ns.memory.Load(), ns.maxMemory, syscall.ENOMEM)
	}
	newMemory := ringmem.New
	if s.private {
		newMemory = ringmem.NewPrivate
	}
	m, err := newMemory(g.Size())
	if err == nil {
		if r, err = of(m); err == nil {
			return r, nil
		}
		m.Close()
	}
	ns.releaseMemory(budget, size)
	budget.release(ringCost(g))
	return r, err
}

// acquireMemory charges n bytes for packets to the namespace, or reports false if fewer are
// left.
func (ns *Namespace) acquireMemory(b *Budget, n int64) bool {
	beyond := b.addPastReserve(n)
	if ns.memory.Add(beyond) > ns.maxMemory && beyond > 0 {
		ns.releaseMemory(b, n)
		return false
	}
	return true
}

func (ns *Namespace) releaseMemory(b *Budget, n int64) { ns.memory.Add(b.addPastReserve(-n)) }

// freeRing closes a ring that newRingLocked charged to budget.
func (ns *Namespace) freeRing(r interface {
	Close() error
	Geometry() tpacket.Geometry
}, budget *Budget) error {
	err := r.Close()
	ns.releaseMemory(budget, int64(r.Geometry().Size()))
	budget.release(ringCost(r.Geometry()))
	return err
}

// hasRingLocked reports whether the socket has a ring of either kind.
func (s *Socket) hasRingLocked() bool { return s.ring != nil || s.txRing != nil }

// replaceRingLocked publishes r, nil for none, and frees the ring before it.
func (s *Socket) replaceRingLocked(r writer.Buffer) error {
	old := s.ring
	s.ring = r
	s.queue.purge(s.ns)
	s.publishLocked()
	s.ns.relink(s)
	var err error
	if old != nil {
		err = s.ns.freeRing(old, s.ringBudget) // no slot can be acquired in it from here on
	}
	if b, ok := old.(*writer.Blocks); ok {
		s.freezes += b.FreezeCount()
	}
	s.counters.Attach(r)
	if old != nil || r == nil {
		s.notify.Wake() // who waits for a packet: there is another ring, or none any more
	}
	return err
}

// Ring is the socket's receive ring, nil when it has none: a [writer.Ring] on a V1
// or V2 socket, a [writer.Blocks] on a V3 one.
func (s *Socket) Ring() writer.Buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ring
}

// NewReader returns the reader of the socket's ring, for a program that reads
// in the same process. A ring has one reader.
func (s *Socket) NewReader() (*ring.Reader, error) {
	r := s.Ring()
	if r == nil {
		return nil, errNoRing
	}
	return writer.NewReader(r, &s.notify), nil
}

// Geometry is the shape of the receive ring, if there is one.
func (s *Socket) Geometry() (g tpacket.Geometry, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring == nil {
		return g, false
	}
	return s.ring.Geometry(), true
}

// HasTxRing says whether the socket has a transmit ring.
func (s *Socket) HasTxRing() bool { return s.TxRing() != nil }

// SetMapped sets the function that reports whether a ring's memory is mapped, given its memfd
// (see [ringmem.Memory.FD]). While it is, PACKET_RX_RING and PACKET_TX_RING are EBUSY whatever
// they request. Without a function no ring counts as mapped. f must not call methods of the
// socket.
func (s *Socket) SetMapped(f func(memfd int) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mapped = f
}

// isMappedLocked reports whether a ring is mapped.
func (s *Socket) isMappedLocked() bool {
	return s.mapped != nil && slices.ContainsFunc(s.memoriesLocked(), func(m *ringmem.Memory) bool { return s.mapped(m.FD()) })
}

var errMapped = explain.Errorf(syscall.EBUSY, "the socket's memory is mapped, unmap it first")

// A socket's rings are mapped in one piece, the receive ring first, as packet_mmap
// does (net/packet/af_packet.c). In a namespace of its reader's process they lie in a
// memfd of this process's: see Map. A reader in another process brings the memory:
// until it has mapped it the rings lie in private memory, and then they move there.

// Map makes the socket's rings ready to be mapped in one piece of size bytes, the
// receive ring first, as packet_mmap does, and returns the memfd that they are, see
// [ringmem.Memory.FD]. EINVAL when there is no ring, or for another size than that of
// all; ENOMEM when there is no memory to put them together.
//
// To do that it may move the rings with their packets. At that time no ring may be mapped,
// and a [ring.Reader] of one may no longer be used. Packets delivered during the move are
// dropped and counted.
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
		if !ringmem.Together(s.memoriesLocked()...) {
			fresh, err := ringmem.NewAll(s.ringSizesLocked()...)
			if err != nil {
				return err
			}
			if err := s.moveRingsLocked(fresh); err != nil {
				return err
			}
		}
		if fd = s.memoriesLocked()[0].FD(); fd < 0 {
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

// KeepRingsPrivate has new rings created in memory that no other process can map, until
// MoveRings. Map is refused.
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
func (s *Socket) MoveRings(ms []*ringmem.Memory) error {
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

func closeAll(ms []*ringmem.Memory) {
	for _, m := range ms {
		m.Close()
	}
}

func (s *Socket) ringSizesLocked() (sizes []int) {
	for _, m := range s.memoriesLocked() {
		sizes = append(sizes, m.Size())
	}
	return sizes
}

// memoriesLocked lists the rings' memory, as it is to be mapped.
func (s *Socket) memoriesLocked() (ms []*ringmem.Memory) {
	if s.ring != nil {
		ms = append(ms, s.ring.Memory())
	}
	if s.txRing != nil {
		ms = append(ms, s.txRing.Memory())
	}
	return ms
}

// moveRingsLocked puts the rings into fresh memory.
func (s *Socket) moveRingsLocked(fresh []*ringmem.Memory) error {
	defer func() { closeAll(fresh) }() // those that no ring took over
	if s.ring != nil {
		var (
			moved writer.Buffer
			err   error
		)
		switch b := s.ring.(type) {
		case *writer.Ring:
			moved, err = b.Move(fresh[0])
		case *writer.Blocks:
			moved, err = b.Move(fresh[0])
		}
		if err != nil {
			return explain.Errorf(syscall.EINVAL, "%w", err)
		}
		fresh = fresh[1:]
		s.ring = moved
		s.counters.Moved(moved)
		s.publishLocked()
		if moved.Readable() { // who polls at the time may have looked at the old memory, after it was cleared
			s.notify.Wake()
		}
	}
	if s.txRing != nil {
		moved, err := s.txRing.Move(fresh[0])
		if err != nil {
			return err
		}
		fresh = fresh[1:]
		s.txRing = moved
		s.publishLocked()
	}
	return nil
}
