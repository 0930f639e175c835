//go:build explore

package ring

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

const (
	twoWriters fault = "two writers in one slot"    // R1
	tornRead   fault = "torn packet read"           // R2
	outOfOrder fault = "packet read out of order"   // R3, and exactly once
	lostRead   fault = "accepted packet never read" // the same
	miscounted fault = "packets do not add up"      // R4
	forNothing fault = "packet lost for nothing"    // dropped though the slot was free
	stuck      fault = "ring stuck with no writer in it"
)

// readers are the kinds of party on the other side.
type readerKind string

const (
	lawfulReader  readerKind = "lawful"  // reads USER slots in order, and knows KERNEL_OWNED
	legacyReader  readerKind = "legacy"  // takes every status but KERNEL for USER, as libpcap
	hostileReader readerKind = "hostile" // stores anything to any slot, at any time
	stoppedReader readerKind = "stopped" // never reads
)

type scope struct {
	design  Design
	reader  readerKind
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
	stage
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

	private []cell // where the writers' private state lies
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
	r, err := NewDesign(NewHeapMemory(g.Size()), g, s.design)
	if err != nil {
		panic(err)
	}
	w := &slotWorld{scope: s, ring: r, holder: make([]int, s.slots), releasing: make([]bool, s.slots), calls: make([]*call, s.writers)}
	w.private = privateState(&r.other, &r.ticket)
	onStore = w.onStore
	for i := range s.writers {
		w.add(fmt.Sprintf("writer %c", 'A'+i), func() { w.write(i) })
	}
	switch s.reader {
	case lawfulReader, legacyReader:
		w.add("reader", w.readAll)
	case hostileReader:
		w.add("hostile reader", w.scribble)
	}
	return w
}

// write is writer i: it delivers its packets, one after the other or a batch
// at a time.
func (w *slotWorld) write(i int) {
	for n := 0; n < w.packets; {
		running.remember(n)
		now := call{}
		w.calls[i] = &now
		w.sample()
		var slots []uint32
		var v Verdict
		if w.batch > 0 {
			slots = make([]uint32, min(w.batch, w.packets-n))
			var got int
			got, v = w.ring.AcquireBatch(slots)
			slots = slots[:got]
		} else if slot, verdict := w.ring.Acquire(); verdict == Acquired {
			slots, v = []uint32{slot}, verdict
		} else {
			v = verdict
		}
		w.calls[i] = nil
		var mine []int
		for _, slot := range slots {
			packet := len(w.order) + 1
			if h := w.holder[slot]; h != 0 {
				w.fail(twoWriters, true, "slot %d is packet %d's and goes to packet %d too", slot, h, packet)
			}
			w.holder[slot] = packet
			w.order = append(w.order, packet)
			w.accepted++
			mine = append(mine, packet)
			observe(uint64(packet))
			w.ring.Frame(slot)[firstHalf] = byte(packet)
			w.say("owns slot %d, writes the first half of packet %d", slot, packet)
		}
		w.offered += len(slots)
		n += len(slots)
		if len(slots) == 0 { // a packet is dropped
			w.judge(v, now)
			w.offered++
			w.dropped++
			n++
		}
		for k, slot := range slots {
			w.fill(slot, mine[k])
			w.releasing[slot] = true
			if k < len(slots)-1 {
				w.ring.ReleaseEarly(slot, tpacket.StatusUser)
			} else {
				w.ring.Release(slot, tpacket.StatusUser)
			}
			w.releasing[slot] = false
		}
	}
}

// judge says whether a drop was honest: at some moment of the call the head
// slot was what the verdict says.
func (w *slotWorld) judge(v Verdict, now call) {
	w.say("drops: %v", v)
	switch {
	case w.reader == hostileReader: // what it stores is true of nothing
	case v == Full && !now.full, v == Owned && !now.owned, v == Releasing && !now.releasing:
		w.fail(forNothing, false, "%v, but at no moment of the call was it so", v)
	}
}

// sample updates what is true of the head slot for every acquire under way.
func (w *slotWorld) sample() {
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
	take(step{what: "writes the second half of packet %d into slot %d", args: []any{packet, slot}})
	w.ring.Frame(slot)[secondHalf] = byte(packet)
}

// onStore is the moment in which a status store happens. A writer's USER ends
// its hold on the slot.
func (w *slotWorld) onStore(slot, status uint32) {
	if status == tpacket.StatusUser && strings.HasPrefix(running.name, "writer") {
		w.holder[slot] = 0
	}
}

func (w *slotWorld) readAll() {
	known := func(s uint32) bool { // as this reader sees it: mine to read
		return s != tpacket.StatusKernel && (w.reader == legacyReader || s != StatusKernelOwned)
	}
	for slot := uint32(0); ; slot = (slot + 1) % w.slots {
		running.remember(int(slot))
		take(step{what: "finds slot %d to read, reads the first half", args: []any{slot}, blocked: func() bool { return !known(w.statusOf(slot)) }})
		first := w.ring.Frame(slot)[firstHalf]
		observe(uint64(first))
		take(step{what: "reads the second half in slot %d", args: []any{slot}})
		second := w.ring.Frame(slot)[secondHalf]
		observe(uint64(second))
		if first != second || w.holder[slot] != 0 {
			w.fail(tornRead, false, "slot %d: bytes %d to %d are packet %d's, bytes %d to %d packet %d's", slot, firstHalf, firstHalf+7, first, secondHalf, secondHalf+7, second)
		} else if w.read >= len(w.order) || w.order[w.read] != int(first) {
			w.fail(outOfOrder, false, "packet %d read, acquired were %v, %d of them read", first, w.order, w.read)
		}
		w.read++
		w.ring.setStatus(slot, tpacket.StatusKernel)
	}
}

func (w *slotWorld) statusOf(slot uint32) uint32 {
	return *(*uint32)(unsafe.Pointer(&w.ring.Frame(slot)[0]))
}

var scribbles = []stored{
	{stepStatus, tpacket.StatusKernel}, {stepStatus, tpacket.StatusUser}, {stepStatus, StatusKernelOwned}, {stepMark, 1}, {stepMark, 0},
}

// scribble is a reader that stores KERNEL, USER, KERNEL_OWNED, a mark or none to
// any slot, a bounded number of times.
func (w *slotWorld) scribble() {
	for n := range w.stores {
		running.remember(n)
		take(step{what: "stores to the ring", choices: int(w.slots) * len(scribbles)})
		slot, what := uint32(running.choice/len(scribbles)), scribbles[running.choice%len(scribbles)]
		w.say("%v to slot %d", what, slot)
		me := running
		running = nil // the store is the step
		if what.kind == stepMark {
			w.ring.setMark(slot, what.v)
		} else {
			w.ring.setStatus(slot, what.v)
		}
		running = me
	}
}

func (w *slotWorld) head() uint32 {
	was := running
	running = nil // no steps
	defer func() { running = was }()
	if h := w.ring.position().previous() + 1; h < w.slots {
		return h
	}
	return 0
}

// finish judges a run that has come to its end.
func (w *slotWorld) finish() {
	if w.accepted+w.dropped != w.offered || w.offered != w.writers*w.packets {
		w.fail(miscounted, false, "accepted %d and dropped %d of %d", w.accepted, w.dropped, w.offered)
	}
	if (w.reader == lawfulReader || w.reader == legacyReader) && w.read != w.accepted {
		w.fail(lostRead, false, "%d accepted, %d read", w.accepted, w.read)
	}
	// Whatever the reader did: once it hands every slot back, all can be had.
	for slot := range w.slots {
		w.ring.setStatus(slot, tpacket.StatusKernel)
	}
	for range w.slots {
		slot, v := w.ring.Acquire()
		if v != Acquired {
			w.fail(stuck, false, "slot %d: %v", slot, v)
			return
		}
		w.ring.Release(slot, tpacket.StatusUser)
	}
}

func (w *slotWorld) key() stateKey {
	k := newKey()
	k.putBytes(w.ring.memory.Bytes())
	k.putCells(w.private)
	// Writers differ in nothing but their names: states that are alike but for
	// those are one.
	locals := make([]uint64, len(w.parties))
	for i, c := range w.parties {
		locals[i] = mix(c.seen, uint64(b2i(c.done)))
		if i < w.writers && w.calls[i] != nil {
			c := w.calls[i]
			locals[i] = mix(locals[i], uint64(b2i(c.full)|b2i(c.owned)<<1|b2i(c.releasing)<<2|8))
		}
	}
	slices.Sort(locals[:w.writers])
	for _, l := range locals {
		k.put(l)
	}
	for _, p := range w.order[min(w.read, len(w.order)):] {
		k.put(uint64(p))
	}
	k.put(uint64(w.read)<<32 | uint64(w.accepted))
	for i, h := range w.holder {
		k.put(uint64(h)<<1 | uint64(b2i(w.releasing[i])))
	}
	return k
}

// expected is what each reader must be able to find wrong with each design, as
// docs/ownership.md argues. What is not listed must hold.
var expected = map[Design]map[readerKind][]fault{
	Unguarded: {
		lawfulReader:  {twoWriters, tornRead, outOfOrder},
		legacyReader:  {twoWriters, tornRead, outOfOrder},
		hostileReader: {twoWriters},
		stoppedReader: {twoWriters},
	},
	ReleaseBefore: {
		lawfulReader:  {twoWriters, tornRead, outOfOrder, lostRead},
		legacyReader:  {twoWriters, tornRead, outOfOrder, lostRead},
		hostileReader: {twoWriters},
		stoppedReader: {twoWriters},
	},
	ReleaseAfter: {
		lawfulReader: {forNothing},
		legacyReader: {forNothing},
	},
	ReleaseAfterPlain: { // a set that is lost: two writers; a clear that is lost: stuck
		lawfulReader:  {forNothing, stuck, twoWriters, tornRead, outOfOrder, lostRead},
		legacyReader:  {forNothing, stuck},
		hostileReader: {stuck, twoWriters},
		stoppedReader: {stuck},
	},
	SlotMark: { // a mark left behind: stuck; a mark taken away: two writers
		hostileReader: {stuck, twoWriters},
	},
	KernelOwned: {
		legacyReader:  {tornRead},
		hostileReader: {twoWriters},
	},
}

// scopes are how large the worlds of a design are: writers, slots, packets of
// each writer, slots asked for at once. There are more packets than slots,
// always: a ring that does not wrap shows nothing.
func scopes(d Design, reader readerKind) []scope {
	all := []scope{
		{writers: 2, slots: 1, packets: 2},
		{writers: 2, slots: 2, packets: 2},
	}
	if reader == legacyReader && d != KernelOwned {
		return all // it differs from the lawful one at no status that d stores
	}
	all = append(all,
		scope{writers: 2, slots: 2, packets: 3},
		scope{writers: 3, slots: 1, packets: 1},
		scope{writers: 3, slots: 2, packets: 1})
	switch d {
	case Ticket:
		all = append(all, scope{writers: 2, slots: 2, packets: 2, batch: 2})
		if reader == lawfulReader {
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
		for _, reader := range []readerKind{lawfulReader, legacyReader, hostileReader, stoppedReader} {
			found := make(map[fault][]string)
			where := make(map[fault]scope)
			began, before := time.Now(), states
			for _, s := range scopes(d, reader) {
				s.design, s.reader, s.stores = d, reader, 2
				if s.writers*s.packets > 4 || d == Ticket {
					s.stores = 1
				}
				r := explore(func() world { return newSlotWorld(s) })
				states, runs = states+r.states, runs+r.runs
				for f, trace := range r.traces {
					if was, ok := found[f]; !ok || len(trace) < len(was) {
						found[f], where[f] = trace, s
					}
				}
			}
			verdict := "holds"
			if len(found) > 0 {
				verdict = strings.Join(names(found), ", ")
			}
			t.Logf("%-20v %-8s reader: %9d states %6.1fs: %s", d, reader, states-before, time.Since(began).Seconds(), verdict)
			want := expected[d][reader]
			for _, f := range slices.Sorted(maps.Keys(found)) {
				if !slices.Contains(want, f) {
					t.Errorf("%v: unexpected: %s\n%s", where[f], f, story(found[f]))
				} else if testing.Verbose() {
					t.Logf("%v: %s, as expected:\n%s", where[f], f, story(found[f]))
				}
			}
			for _, f := range want {
				if _, ok := found[f]; !ok {
					t.Errorf("%v with a %s reader: no interleaving shows what it should: %s", d, reader, f)
				}
			}
		}
	}
	t.Logf("explored %d states in %d runs", states, runs)
}
