package ring

import (
	"math/bits"

	"github.com/rxring/rxring/tpacket"
)

// ticket owns slots without a lock.
//
// head holds the next ticket. A ticket names a slot and a lap around the ring,
// and each slot has a private sequence word that says which ticket may have it.
// Acquire: the slot's sequence equals the head ticket and its status is KERNEL;
// then compare-and-swap head to the next ticket. Whoever wins the swap is the
// one holder of that ticket, so no slot has two writers, whatever the status
// words say. Release: store the status, then the sequence of the next lap.
//
// A writer that wraps the ring finds the sequence of a lap ago: the slot is
// still owned. The status must be stored first: the other way round the slot
// could be taken again while its status is yet to change, and be torn. Between
// the two stores the reader may have read the packet and handed the slot back,
// which is then free but not to be had; so a releasing writer says first that
// it is about to (the releasing bit), and one that finds it so looks again, a
// bounded number of times, instead of dropping for nothing.
type ticket struct {
	_     [64]byte // writers swap head all the time: nothing else on its line
	next  word     // head: the next ticket
	_     [64]byte
	seq   []word // of each slot: see sequence
	slots uint32
	shift uint8 // a ticket is lap<<shift | slot

	contention contention
}

// Bits of a ticket and of a sequence word beside lap and slot.
const (
	ticketClosed    = 1 << 63 // in head: no ticket is given any more
	ticketReleasing = 1 << 62 // in a sequence word: its owner is between its release stores
)

func (d *ticket) init(slots uint32) {
	d.slots = slots
	d.shift = uint8(bits.Len32(slots - 1))
	d.seq = make([]word, (slots+sequenceGroup-1)&^(sequenceGroup-1))
	for i := range slots {
		d.sequence(i).Store(uint64(i))
	}
	d.contention.init()
}

// sequence is slot's sequence word. Four slots in a row have theirs in different
// cache lines: writers who take them in turn are less in each other's way, and
// those who take runs of them still have lines of their own.
func (d *ticket) sequence(slot uint32) *word {
	return &d.seq[slot^slot<<3&(sequenceGroup-8)]
}

// sequenceGroup is the slots whose sequence words share four cache lines.
const sequenceGroup = 32

func (d *ticket) slot(t uint64) uint32 { return uint32(t & (1<<d.shift - 1)) }

// after is the ticket that follows t.
func (d *ticket) after(t uint64) uint64 {
	if d.slot(t)+1 == d.slots {
		return (t>>d.shift + 1) << d.shift
	}
	return t + 1
}

func (r *Ring) acquireTicket() (slot uint32, v Verdict) {
	d := &r.ticket
	lost := uint32(0)
	for wait := 0; ; again(wait) {
		t := d.next.Load()
		if t&ticketClosed != 0 {
			return 0, NoRoom
		}
		slot = d.slot(t)
		seq := d.sequence(slot).Load()                 // pairs with the last store of releaseTicket
		free := r.status(slot) == tpacket.StatusKernel // pairs with the reader's store
		if seq == t && free {
			if d.next.CompareAndSwap(t, d.after(t)) {
				return slot, Acquired
			}
			d.contention.makeWay(d, &lost) // somebody else has this ticket
			continue
		}
		if d.next.Load() != t {
			continue // what we saw was of a ticket that is gone
		}
		switch {
		case !free:
			return slot, Full
		case seq&ticketReleasing == 0:
			return slot, Owned
		case wait == waitBound:
			return slot, Releasing
		}
		wait++
		pause()
	}
}

func (r *Ring) releaseTicket(slot, status uint32) {
	seq := r.ticket.sequence(slot)
	seq.Store(r.publishTicket(seq, slot, status)) // pairs with the load in acquireTicket; a full barrier for Notify.Wake
}

// publishTicket hands slot to the reader and returns the ticket that may have it
// next, which seq, its sequence word, is yet to say. It is not inlined, so that no
// compiler can find the releasing bit overwritten unread and leave it out.
//
//go:noinline
func (r *Ring) publishTicket(seq *word, slot, status uint32) (next uint64) {
	t := loadOwn(seq)
	publishWord(seq, t|ticketReleasing)
	r.publishStatus(slot, status) // pairs with the reader's load
	return t + 1<<r.ticket.shift
}

// acquireTickets takes up to len(slots) slots in a row with one
// compare-and-swap, and says how many; when it is none, why.
func (r *Ring) acquireTickets(slots []uint32) (n int, v Verdict) {
	d := &r.ticket
	lost := uint32(0)
	for wait := 0; ; again(wait) {
		t := d.next.Load()
		if t&ticketClosed != 0 {
			return 0, NoRoom
		}
		// The run of free slots from head on.
		var seq uint64
		var free bool
		end := t
		for n = 0; n < len(slots); n++ {
			slots[n] = d.slot(end)
			seq = d.sequence(slots[n]).Load()
			free = r.status(slots[n]) == tpacket.StatusKernel
			if seq != end || !free {
				break
			}
			end = d.after(end)
		}
		if n > 0 {
			if d.next.CompareAndSwap(t, end) {
				return n, Acquired
			}
			d.contention.makeWay(d, &lost)
			continue
		}
		if d.next.Load() != t {
			continue
		}
		switch {
		case !free:
			return 0, Full
		case seq&ticketReleasing == 0:
			return 0, Owned
		case wait == waitBound:
			return 0, Releasing
		}
		wait++
		pause()
	}
}

func (d *ticket) previous() uint32 {
	slot := d.slot(d.next.Load() &^ ticketClosed)
	if slot == 0 {
		return d.slots - 1
	}
	return slot - 1
}

func (d *ticket) taken() uint64 {
	t := d.next.Load() &^ ticketClosed
	return t>>d.shift*uint64(d.slots) + uint64(d.slot(t))
}

// progress counts slots.
func (d *ticket) progress() uint64 { return d.taken() }

func (d *ticket) close() { d.next.Or(ticketClosed) }
