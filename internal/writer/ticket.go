package writer

import (
	"math/bits"

	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// ticket owns slots without a lock.
//
// next holds the next ticket. A ticket names a slot and a lap around the ring, and
// each slot has a private sequence word that says which ticket may have it.
// Acquire: the slot's sequence equals the next ticket and its status is KERNEL; a
// compare-and-swap moves next to the ticket after it. The writer that wins the
// swap is the one holder of that ticket, so no slot has two writers, whatever the
// status words say. Release: store the status, then the sequence of the next lap.
//
// A writer that wraps the ring finds the sequence of a lap ago: the slot is still
// owned. The status must be stored first: the other way round the slot could be
// acquired again while its status has yet to change, and be torn. Between the two
// stores the reader may have read the packet and handed the slot back, which is
// then free but cannot be acquired. So a releasing writer first sets the releasing
// bit, and a writer that finds it reloads the word, a bounded number of times,
// instead of dropping for nothing.
type ticket struct {
	_     [64]byte   // writers swap next all the time: nothing else on its line
	next  slots.Word // the next ticket
	_     [64]byte
	seq   []slots.Word // of each slot: see sequence
	slots uint32
	mask  uint64 // a ticket is lap*(mask+1) + slot
}

// Bits of a ticket and of a sequence word beside lap and slot.
const (
	ticketClosed    = 1 << 63 // in next: no ticket is given any more
	ticketReleasing = 1 << 62 // in a sequence word: its owner is between its release stores
)

func (d *ticket) init(n uint32) {
	d.slots = n
	d.mask = 1<<bits.Len32(n-1) - 1
	d.seq = make([]slots.Word, (n+sequenceGroup-1)&^(sequenceGroup-1))
	for i := range n {
		d.sequence(i).Store(uint64(i))
	}
}

// sequence is slot's sequence word. Four slots in a row have theirs in different
// cache lines, so writers that acquire them in turn disturb each other less, and
// writers that acquire runs of them still have lines of their own.
func (d *ticket) sequence(slot uint32) *slots.Word {
	return &d.seq[slot^slot<<3&(sequenceGroup-8)]
}

// sequenceGroup is the number of slots whose sequence words share four cache lines.
const sequenceGroup = 32

func (d *ticket) slot(t uint64) uint32 { return uint32(t & d.mask) }

// after is the ticket that follows t.
func (d *ticket) after(t uint64) uint64 {
	if d.slot(t)+1 == d.slots {
		return (t | d.mask) + 1
	}
	return t + 1
}

// Acquire acquires the head slot. On [ring.Acquired] the caller owns it, fills it
// with no lock held, and must call Release; on any other verdict there is no slot
// to release.
func (r *Ring) Acquire() (slot uint32, v ring.Verdict) {
	d := &r.ticket
	lost := uint32(0)
	for wait := 0; ; slots.Again(wait) {
		t := d.next.Load()
		if t&ticketClosed != 0 {
			return 0, ring.NoRoom
		}
		slot = d.slot(t)
		seq := d.sequence(slot).Load()                 // pairs with the last store of Release
		free := r.Status(slot) == tpacket.StatusKernel // pairs with the reader's store
		if seq == t && free {
			if d.next.CompareAndSwap(t, d.after(t)) {
				return slot, ring.Acquired
			}
			backoff(&lost) // another writer has this ticket
			continue
		}
		if d.next.Load() != t {
			continue // the words loaded were of an earlier ticket
		}
		switch {
		case !free:
			return slot, ring.Full
		case seq&ticketReleasing == 0:
			return slot, ring.Owned
		case wait == slots.WaitBound:
			return slot, ring.Releasing
		}
		wait++
		slots.Pause()
	}
}

// AcquireBatch acquires up to len(run) head slots in a row with one
// compare-and-swap and returns how many: at least one on [ring.Acquired], none on
// any other verdict. The caller owns each slot until it calls Release for it, in
// any order.
func (r *Ring) AcquireBatch(run []uint32) (n int, v ring.Verdict) {
	d := &r.ticket
	lost := uint32(0)
	for wait := 0; ; slots.Again(wait) {
		t := d.next.Load()
		if t&ticketClosed != 0 {
			return 0, ring.NoRoom
		}
		// The run of free slots from head on.
		var seq uint64
		var free bool
		slot, end := d.slot(t), t
		for n = 0; n < len(run); n++ {
			seq = d.sequence(slot).Load()                 // pairs as in Acquire
			free = r.Status(slot) == tpacket.StatusKernel // pairs as in Acquire
			if seq != end || !free {
				break
			}
			run[n] = slot
			if slot++; slot == d.slots {
				slot, end = 0, end|d.mask
			}
			end++
		}
		if n > 0 {
			if d.next.CompareAndSwap(t, end) {
				return n, ring.Acquired
			}
			backoff(&lost)
			continue
		}
		if d.next.Load() != t {
			continue
		}
		switch {
		case !free:
			return 0, ring.Full
		case seq&ticketReleasing == 0:
			return 0, ring.Owned
		case wait == slots.WaitBound:
			return 0, ring.Releasing
		}
		wait++
		slots.Pause()
	}
}

// Release hands an acquired slot to the reader. Everything stored to the slot before is
// visible to a reader that sees status, which must not be KERNEL. A full barrier must follow
// before the caller wakes a reader: see package notify.
//
// The second load of the sequence word is for the compiler: none can find the releasing bit
// overwritten unread and leave it out.
func (r *Ring) Release(slot, status uint32) {
	seq := r.ticket.sequence(slot)
	t := slots.LoadOwn(seq)
	slots.PublishWord(seq, t|ticketReleasing) // pairs with the load in Acquire
	r.PublishStatus(slot, status)             // pairs with the reader's load
	_ = slots.LoadOwn(seq)
	slots.PublishWord(seq, t+r.ticket.mask+1) // pairs with the load in Acquire
}

// previous is the slot before head.
func (d *ticket) previous() uint32 {
	slot := d.slot(d.next.Load() &^ ticketClosed)
	if slot == 0 {
		return d.slots - 1
	}
	return slot - 1
}

// taken is how many slots were acquired so far.
func (d *ticket) taken() uint64 {
	t := d.next.Load() &^ ticketClosed
	return t/(d.mask+1)*uint64(d.slots) + uint64(d.slot(t))
}

func (d *ticket) close() { d.next.Or(ticketClosed) }
