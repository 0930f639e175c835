//go:build explore

package ownership

import (
	"fmt"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"github.com/rxring/rxring/internal/explore"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

const twoWriters explore.Fault = "two writers in one slot" // R1

type scope struct {
	design  Design
	reader  explore.Reader
	writers int
	slots   uint32
	packets int // each writer's
	batch   int // slots that a writer asks for at once; 0: Acquire
	stores  int // a hostile reader's
}

func (s scope) String() string {
	text := fmt.Sprintf("%v/%s-reader/writers=%d/slots=%d/packets=%d", s.design, s.reader, s.writers, s.slots, s.packets)
	if s.batch > 0 {
		text += fmt.Sprintf("/batch=%d", s.batch)
	}
	return text
}

// Layout of an explored slot: the packet's number lies in two places, and a
// writer stores them in two steps.
const (
	exploredFrame = 64
	firstHalf     = 40
	secondHalf    = 48
)

// slotWorld is one run of a scope.
type slotWorld struct {
	explore.Stage
	scope
	ring *Ring

	// What truly happens, which no party sees.
	holder    []int // by slot: packet whose writer holds it, 0: none
	releasing []bool
	order     []int // packets in the order in which slots were acquired
	offered   int
	dropped   int
	accepted  int
	read      int
	calls     []*call // by writer: the acquire under way

	private []explore.Cell // where the writers' private state lies
}

// call is what has been true at some moment of an acquire, with head as it was
// at that moment.
type call struct {
	full, owned, releasing bool
}

func newSlotWorld(s scope) *slotWorld {
	g := tpacket.Geometry{
		Version: tpacket.V2, BlockSize: exploredFrame * s.slots, BlockNr: 1,
		FrameSize: exploredFrame, FrameNr: s.slots, FramesPerBlock: s.slots,
	}
	r, err := New(ringmem.NewHeap(g.Size()), g, s.design)
	if err != nil {
		panic(err)
	}
	w := &slotWorld{scope: s, ring: r, holder: make([]int, s.slots), releasing: make([]bool, s.slots), calls: make([]*call, s.writers)}
	if r.ticket != nil {
		w.private = explore.Cells(r.ticket.Private())
	} else {
		w.private = explore.Cells(&r.methods.(*study).owner)
	}
	slots.OnStore = w.onStore
	for i := range s.writers {
		w.Add(fmt.Sprintf("writer %c", 'A'+i), func() { w.write(i) })
	}
	switch s.reader {
	case explore.Lawful, explore.Legacy:
		w.Add("reader", w.readAll)
	case explore.Hostile:
		w.Add("hostile reader", w.scribble)
	}
	return w
}

// write is writer i: it delivers its packets, one after the other or a batch
// at a time.
func (w *slotWorld) write(i int) {
	for n := 0; n < w.packets; {
		explore.Remember(n)
		now := call{}
		w.calls[i] = &now
		w.Sample()
		var run []uint32
		var v ring.Verdict
		if w.batch > 0 {
			run = make([]uint32, min(w.batch, w.packets-n))
			var got int
			got, v = w.ring.AcquireBatch(run)
			run = run[:got]
		} else if slot, verdict := w.ring.Acquire(); verdict == ring.Acquired {
			run, v = []uint32{slot}, verdict
		} else {
			v = verdict
		}
		w.calls[i] = nil
		var mine []int
		for _, slot := range run {
			packet := len(w.order) + 1
			if h := w.holder[slot]; h != 0 {
				w.Fail(twoWriters, true, "slot %d is packet %d's and goes to packet %d too", slot, h, packet)
			}
			w.holder[slot] = packet
			w.order = append(w.order, packet)
			w.accepted++
			mine = append(mine, packet)
			explore.Observe(uint64(packet))
			w.ring.Frame(slot)[firstHalf] = byte(packet)
			w.Say("owns slot %d, writes the first half of packet %d", slot, packet)
		}
		w.offered += len(run)
		n += len(run)
		if len(run) == 0 { // a packet is dropped
			w.checkDrop(v, now)
			w.offered++
			w.dropped++
			n++
		}
		for i, slot := range run {
			w.fill(slot, mine[i])
			w.releasing[slot] = true
			w.ring.Release(slot, tpacket.StatusUser)
			w.releasing[slot] = false
		}
	}
}

// checkDrop fails unless the drop was right: at some moment of the call the head
// slot was what the verdict says.
func (w *slotWorld) checkDrop(v ring.Verdict, now call) {
	w.Say("drops: %v", v)
	switch {
	case w.reader == explore.Hostile: // what it stores is true of nothing
	case v == ring.Full && !now.full, v == ring.Owned && !now.owned, v == ring.Releasing && !now.releasing:
		w.Fail(explore.ForNothing, false, "%v, but at no moment of the call was it so", v)
	}
}

// sample updates what is true of the head slot for every acquire under way.
func (w *slotWorld) Sample() {
	if w.slots == 0 {
		return
	}
	head := w.head()
	status := w.statusOf(head)
	for _, c := range w.calls {
		if c == nil {
			continue
		}
		if w.holder[head] != 0 {
			c.owned = true
		}
		if w.releasing[head] {
			c.releasing = true
		}
		if status != tpacket.StatusKernel {
			c.full = true
		}
	}
}

// fill writes the second half. The first was written with the step that
// acquired the slot: what matters is that there is a moment between the two.
func (w *slotWorld) fill(slot uint32, packet int) {
	explore.Take(explore.Step{What: "writes the second half of packet %d into slot %d", Args: [2]any{packet, slot}})
	w.ring.Frame(slot)[secondHalf] = byte(packet)
}

// onStore is the moment in which a status store happens. A writer's USER ends
// its hold on the slot.
func (w *slotWorld) onStore(slot, status uint32) {
	if status == tpacket.StatusUser && strings.HasPrefix(explore.RunningName(), "writer") {
		w.holder[slot] = 0
	}
}

func (w *slotWorld) readAll() {
	known := func(s uint32) bool { // as this reader sees it: mine to read
		return s != tpacket.StatusKernel && (w.reader == explore.Legacy || s != StatusKernelOwned)
	}
	for slot := uint32(0); ; slot = (slot + 1) % w.slots {
		explore.Remember(int(slot))
		explore.Take(explore.Step{What: "finds slot %d to read, reads the first half", Args: [2]any{slot}, Blocked: func() bool { return !known(w.statusOf(slot)) }})
		first := w.ring.Frame(slot)[firstHalf]
		explore.Observe(uint64(first))
		explore.Take(explore.Step{What: "reads the second half in slot %d", Args: [2]any{slot}})
		second := w.ring.Frame(slot)[secondHalf]
		explore.Observe(uint64(second))
		if first != second || w.holder[slot] != 0 {
			w.Fail(explore.TornRead, false, "slot %d: bytes %d to %d are packet %d's, bytes %d to %d packet %d's", slot, firstHalf, firstHalf+7, first, secondHalf, secondHalf+7, second)
		} else if w.read >= len(w.order) || w.order[w.read] != int(first) {
			w.Fail(explore.OutOfOrder, false, "packet %d read, acquired were %v, %d of them read", first, w.order, w.read)
		}
		w.read++
		w.ring.slots.SetStatus(slot, tpacket.StatusKernel)
	}
}

func (w *slotWorld) statusOf(slot uint32) uint32 {
	return *(*uint32)(unsafe.Pointer(&w.ring.Frame(slot)[0]))
}

var scribbles = []slots.Stored{
	{Field: slots.StatusWord, Value: tpacket.StatusKernel},
	{Field: slots.StatusWord, Value: tpacket.StatusUser},
	{Field: slots.StatusWord, Value: StatusKernelOwned},
	{Field: slots.MarkWord, Value: 1},
	{Field: slots.MarkWord, Value: 0},
}

// scribble is a reader that stores KERNEL, USER, KERNEL_OWNED, a mark or none to
// any slot, a bounded number of times.
func (w *slotWorld) scribble() {
	for n := range w.stores {
		explore.Remember(n)
		explore.Take(explore.Step{What: "stores to the ring", Choices: int(w.slots) * len(scribbles)})
		slot, what := uint32(explore.Choice()/len(scribbles)), scribbles[explore.Choice()%len(scribbles)]
		w.Say("%v to slot %d", what, slot)
		explore.Unscheduled(func() { // the store is the step
			if what.Field == slots.MarkWord {
				setMark(&w.ring.slots, slot, what.Value)
			} else {
				w.ring.slots.SetStatus(slot, what.Value)
			}
		})
	}
}

func (w *slotWorld) head() uint32 {
	var taken uint64
	explore.Unscheduled(func() { taken = w.ring.Captured() })
	return uint32(taken % uint64(w.slots))
}

// finish checks a run that has ended.
func (w *slotWorld) Finish() {
	if w.accepted+w.dropped != w.offered || w.offered != w.writers*w.packets {
		w.Fail(explore.Miscounted, false, "accepted %d and dropped %d of %d", w.accepted, w.dropped, w.offered)
	}
	if (w.reader == explore.Lawful || w.reader == explore.Legacy) && w.read != w.accepted {
		w.Fail(explore.LostRead, false, "%d accepted, %d read", w.accepted, w.read)
	}
	// Whatever the reader did: once it hands every slot back, all can be had.
	for slot := range w.slots {
		w.ring.slots.SetStatus(slot, tpacket.StatusKernel)
	}
	for range w.slots {
		slot, v := w.ring.Acquire()
		if v != ring.Acquired {
			w.Fail(explore.Stuck, false, "slot %d: %v", slot, v)
			return
		}
		w.ring.Release(slot, tpacket.StatusUser)
	}
}

func (w *slotWorld) Key() explore.Key {
	k := explore.NewKey()
	k.PutBytes(w.ring.Memory().Bytes())
	k.PutCells(w.private)
	w.PutParties(&k, w.writers, func(i int) (uint64, bool) {
		c := w.calls[i]
		if c == nil {
			return 0, false
		}
		return explore.Bit(c.full) | explore.Bit(c.owned)<<1 | explore.Bit(c.releasing)<<2 | 8, true
	})
	for _, p := range w.order[min(w.read, len(w.order)):] {
		k.Put(uint64(p))
	}
	k.Put(uint64(w.read)<<32 | uint64(w.accepted))
	for i, h := range w.holder {
		k.Put(uint64(h)<<1 | explore.Bit(w.releasing[i]))
	}
	return k
}

// expected is what each reader must be able to find wrong with each design, as
// docs/ownership.md argues. What is not listed must hold.
var expected = map[Design]map[explore.Reader][]explore.Fault{
	Unguarded: {
		explore.Lawful:  {twoWriters, explore.TornRead, explore.OutOfOrder},
		explore.Legacy:  {twoWriters, explore.TornRead, explore.OutOfOrder},
		explore.Hostile: {twoWriters},
		explore.Stopped: {twoWriters},
	},
	ReleaseBefore: {
		explore.Lawful:  {twoWriters, explore.TornRead, explore.OutOfOrder, explore.LostRead},
		explore.Legacy:  {twoWriters, explore.TornRead, explore.OutOfOrder, explore.LostRead},
		explore.Hostile: {twoWriters},
		explore.Stopped: {twoWriters},
	},
	ReleaseAfter: {
		explore.Lawful: {explore.ForNothing},
		explore.Legacy: {explore.ForNothing},
	},
	ReleaseAfterPlain: { // a set that is lost: two writers; a clear that is lost: explore.Stuck
		explore.Lawful:  {explore.ForNothing, explore.Stuck, twoWriters, explore.TornRead, explore.OutOfOrder, explore.LostRead},
		explore.Legacy:  {explore.ForNothing, explore.Stuck},
		explore.Hostile: {explore.Stuck, twoWriters},
		explore.Stopped: {explore.Stuck},
	},
	SlotMark: { // a mark left behind: explore.Stuck; a mark taken away: two writers
		explore.Hostile: {explore.Stuck, twoWriters},
	},
	KernelOwned: {
		explore.Legacy:  {explore.TornRead},
		explore.Hostile: {twoWriters},
	},
}

// scopes are how large the worlds of a design are: writers, slots, packets of
// each writer, slots asked for at once. There are more packets than slots,
// always: a ring that does not wrap shows nothing.
func scopes(d Design, reader explore.Reader) []scope {
	all := []scope{
		{writers: 2, slots: 1, packets: 2},
		{writers: 2, slots: 2, packets: 2},
	}
	if reader == explore.Legacy && d != KernelOwned {
		return all // it differs from the lawful one at no status that d stores
	}
	all = append(all,
		scope{writers: 2, slots: 2, packets: 3},
		scope{writers: 3, slots: 1, packets: 1},
		scope{writers: 3, slots: 2, packets: 1})
	switch d {
	case Ticket:
		all = append(all, scope{writers: 2, slots: 2, packets: 2, batch: 2})
		if reader == explore.Lawful && !testing.Short() {
			all = append(all, scope{writers: 2, slots: 2, packets: 3, batch: 2})
		}
	case OwnerMap, Tail, ShadowRing, KernelOwned:
		all = append(all, scope{writers: 3, slots: 1, packets: 2}, scope{writers: 3, slots: 2, packets: 2})
	}
	return all
}

func TestExplore(t *testing.T) {
	debug.SetGCPercent(800)
	states, runs := 0, 0
	for _, d := range Designs() {
		for _, reader := range []explore.Reader{explore.Lawful, explore.Legacy, explore.Hostile, explore.Stopped} {
			found := explore.NewFindings()
			for _, s := range scopes(d, reader) {
				s.design, s.reader, s.stores = d, reader, 2
				if s.writers*s.packets > 4 || d == Ticket {
					s.stores = 1
				}
				found.Add(s, explore.Search(func() explore.World { return newSlotWorld(s) }))
			}
			found.Check(t, d, reader, expected[d][reader]...)
			states, runs = states+found.States, runs+found.Runs
		}
	}
	t.Logf("explored %d states in %d runs", states, runs)
}

func init() { slots.StatusNames[StatusKernelOwned] = "KERNEL_OWNED" }
