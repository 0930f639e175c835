//go:build explore

package writer

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/rxring/rxring/internal/explore"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// What can go wrong with blocks beside what can with slots.
const (
	sameBytes  explore.Fault = "two writers in the same bytes"         // R1
	twoLives   explore.Fault = "block opened with a writer in it"      // R1
	handedOver explore.Fault = "block handed over with a writer in it" // R2
	unread     explore.Fault = "block opened before it was read"       // R3
)

// blockScope is how large a world of blocks is.
type blockScope struct {
	reader  explore.Reader
	writers int
	blocks  uint32
	sizes   []uint64 // units of each packet that a writer offers, in their order
	expires int      // of the timer
	stores  int      // a hostile reader's
	closes  bool     // a goroutine closes the ring
	batches bool     // the first writer offers all its packets at once
	long    bool     // left out with -short
}

func (s blockScope) String() string {
	text := fmt.Sprintf("blocks/%s-reader/writers=%d/blocks=%d/units=%v", s.reader, s.writers, s.blocks, s.sizes)
	if s.expires > 0 {
		text += fmt.Sprintf("/expires=%d", s.expires)
	}
	if s.closes {
		text += "/closes"
	}
	if s.batches {
		text += "/batches"
	}
	return text
}

// Layout of an explored block, in units. Two halves fit; a whole one fits into
// an empty block; one that is all of a block goes into a fresh one only.
const (
	exploredFirst = tpacket.SizeofBlockDesc / unit
	halfPacket    = (tpacket.SizeofHeader3 + 16) / unit
	wholePacket   = 2 * halfPacket
	allPacket     = wholePacket + 1
	exploredBlock = exploredFirst + allPacket
)

// The packet's number lies in two places behind its header, which a writer
// stores in two steps.
const (
	blockFirstHalf  = tpacket.SizeofHeader3
	blockSecondHalf = tpacket.SizeofHeader3 + 8
)

// blockWorld is one run of a scope.
type blockWorld struct {
	explore.Stage
	blockScope
	b *Blocks

	// What truly happens, which no party sees.
	inside   [][]tenant // by block: writers from Acquire until the reader has got it
	handed   []bool     // by block: the lawful reader has it
	over     []uint64   // by block: the latest life of it that the reader has got
	lives    []uint64   // by block: the one that the latest packet in it is of
	end      []uint64   // by block: of that packet, in units
	accepted int        // packets, numbered in the order in which they got room
	read     int        // they must be read in that order
	blocks   uint64     // read
	offered  int
	dropped  int
	calls    []*blockCall // by writer: the Acquire under way
	final    int          // captured when the ring was closed, plus 1
}

// tenant is a packet in a block, whose writer is not done.
type tenant struct {
	packet  int
	at, end uint64 // units
	life    uint64 // the block's sequence number
	filling bool   // it is yet to be released
}

// blockCall is what has been true at some moment of an Acquire.
type blockCall struct {
	units                  uint64
	full, owned, releasing bool
}

func newBlockWorld(s blockScope) *blockWorld {
	g := tpacket.Geometry{Version: tpacket.V3, BlockSize: exploredBlock * unit, BlockNr: s.blocks}
	b, err := NewBlocks(ringmem.NewHeap(g.Size()), g, BlocksConfig{})
	if err != nil {
		panic(err)
	}
	w := &blockWorld{
		blockScope: s, b: b,
		inside: make([][]tenant, s.blocks), handed: make([]bool, s.blocks), over: make([]uint64, s.blocks), lives: make([]uint64, s.blocks), end: make([]uint64, s.blocks),
		calls: make([]*blockCall, s.writers),
	}
	slots.OnStore = w.onStore
	for i := range s.writers {
		w.Add(fmt.Sprintf("writer %c", 'A'+i), func() { w.write(i) })
	}
	switch s.reader {
	case explore.Lawful:
		w.Add("reader", w.readAll)
	case explore.Hostile:
		w.Add("hostile reader", w.scribble)
	}
	if s.expires > 0 {
		w.Add("timer", w.expire)
	}
	if s.closes {
		w.Add("closer", w.close)
	}
	return w
}

func (w *blockWorld) Name(p *slots.Word) (explore.WordInfo, bool) {
	if p == &w.b.open {
		return explore.WordInfo{Name: "the open word", Value: w.open}, true
	}
	for i := range w.b.blocks {
		switch p {
		case &w.b.blocks[i].state:
			return explore.WordInfo{Name: fmt.Sprintf("the state of block %d", i), Value: w.state}, true
		case &w.b.blocks[i].sealed:
			return explore.WordInfo{Name: fmt.Sprintf("the seal of block %d", i), Value: w.sealed}, true
		}
	}
	return explore.WordInfo{}, false
}

// open, state and sealed say what private words hold.
func (w *blockWorld) open(v uint64) string {
	l := &w.b.layout
	what := fmt.Sprintf("units %d to %d taken by %d packets", w.b.first, v&l.units-1, l.packets(v))
	switch v & l.units {
	case w.b.first:
		what = "empty"
	case l.closed():
		what = "closed"
	case l.frozen():
		what = "yet to be opened"
	case l.moving():
		what = "being changed"
	case l.parked():
		what = "empty, without a timer"
	}
	return fmt.Sprintf("{block %d: %s}", l.block(v), what)
}

func (w *blockWorld) state(v uint64) string {
	if v == 0 {
		return "{0}"
	}
	var is []string
	for bit, name := range map[uint64]string{blockRetired: "retired", blockTimeout: "by the timer", blockReleasing: "releasing"} {
		if v&bit != 0 {
			is = append(is, name)
		}
	}
	slices.Sort(is)
	if n := v & blockUnits; n > 0 {
		is = append(is, fmt.Sprintf("%d units complete, last packet at %d", n, v&blockLast>>blockLastAt))
	}
	return "{" + strings.Join(is, ", ") + "}"
}

func (w *blockWorld) sealed(v uint64) string {
	return fmt.Sprintf("{%d packets, end at %d}", v>>32, uint32(v))
}

// write is writer i: it delivers its packets one after the other, or as many at once as it gets
// room for.
func (w *blockWorld) write(i int) {
	for n := 0; n < len(w.sizes); {
		explore.Remember(n)
		sizes := w.sizes[n : n+1]
		if w.batches && i == 0 {
			sizes = w.sizes[n:]
		}
		w.calls[i] = &blockCall{units: sizes[0]}
		w.Sample()
		m, got, v := w.acquire(sizes)
		now := w.calls[i]
		w.calls[i] = nil
		if v != ring.Acquired {
			n++
			w.offered++
			w.checkDrop(v, now)
			continue
		}
		n += got
		w.offered += got
		var entered []tenant
		var frames []Reservation
		at := m.at
		memory := explore.Mix(uint64(n), uint64(m.block)<<32|uint64(m.at))
		for _, units := range sizes[:got] {
			frame := Reservation{block: m.block, at: at, units: uint32(units)}
			at += frame.units
			t := w.enter(frame)
			memory = explore.Mix(memory, uint64(t.packet))
			entered, frames = append(entered, t), append(frames, frame)
		}
		// What the call has read is of no use any more; what it got is.
		explore.Remember(int(memory))
		for k, t := range entered {
			explore.Take(explore.Step{What: "writes the second half of packet %d", Args: [2]any{t.packet}})
			w.b.Bytes(frames[k])[blockSecondHalf] = byte(t.packet)
		}
		for _, t := range entered {
			if t := w.tenant(m.block, t.packet); t != nil {
				t.filling = false
			}
		}
		w.b.Release(m)
	}
}

// acquire reserves room for the first of the packets, or for as many as AcquireBatch does.
func (w *blockWorld) acquire(sizes []uint64) (m Reservation, n int, v ring.Verdict) {
	if len(sizes) == 1 {
		m, v = w.b.Acquire(uint32(sizes[0]) * unit)
		return m, 1, v
	}
	bytes := make([]uint32, len(sizes))
	for i, units := range sizes {
		bytes[i] = uint32(units) * unit
	}
	return w.b.AcquireBatch(bytes)
}

func (w *blockWorld) tenant(block uint32, packet int) *tenant {
	for i := range w.inside[block] {
		if t := &w.inside[block][i]; t.packet == packet {
			return t
		}
	}
	return nil // the block has been handed over: a explore.Fault, and noted
}

// enter checks the room that a writer got, and writes the first half of its
// packet there.
func (w *blockWorld) enter(m Reservation) tenant {
	w.accepted++
	life := w.b.Desc(m.block).SeqNum
	t := tenant{w.accepted, uint64(m.at), uint64(m.at + m.units), life, true}
	w.Say("has units %d to %d of block %d, writes the first half of packet %d", t.at, t.end-1, m.block, t.packet)
	for _, o := range w.inside[m.block] {
		switch {
		case o.filling && t.at < o.end && o.at < t.end:
			w.Fail(sameBytes, true, "units %d to %d of block %d are packet %d's too", max(t.at, o.at), min(t.end, o.end)-1, m.block, o.packet)
		case o.filling && o.life != life:
			w.Fail(twoLives, true, "packet %d has been in block %d since its life %d, packet %d is in its life %d", o.packet, m.block, o.life, t.packet, life)
		}
	}
	if t.end > exploredBlock {
		w.Fail(sameBytes, false, "block %d ends at unit %d", m.block, exploredBlock)
		return t
	}
	if w.handed[m.block] {
		w.Fail(unread, true, "block %d is the reader's", m.block)
	}
	w.inside[m.block] = append(w.inside[m.block], t)
	w.lives[m.block], w.end[m.block] = life, t.end
	// What lies behind the packet is of earlier lives: states that differ in it
	// are one.
	clear(w.mem(m.block)[t.at*unit:])
	frame := w.b.Bytes(m)
	*tpacket.Header3At(frame) = tpacket.Header3{NextOffset: m.Size(), Snaplen: m.Size() - tpacket.SizeofHeader3, Mac: tpacket.SizeofHeader3}
	frame[blockFirstHalf] = byte(t.packet)
	return t
}

func (w *blockWorld) mem(block uint32) []byte {
	return w.b.memory.Bytes()[block*exploredBlock*unit:][:exploredBlock*unit]
}

// checkDrop fails unless the drop was right: at some moment of the call there was no
// room, because of what the verdict says.
func (w *blockWorld) checkDrop(v ring.Verdict, now *blockCall) {
	w.dropped++
	w.Say("drops: %v", v)
	switch {
	case w.reader == explore.Hostile: // what it stores is true of nothing
	case v == ring.NoRoom && !w.closes, v == ring.Full && !now.full, v == ring.Owned && !now.owned, v == ring.Releasing && !now.releasing:
		w.Fail(explore.ForNothing, false, "%v, but at no moment of the call was it so", v)
	}
}

// sample updates, for every Acquire under way, what is true of the block that a
// packet needs. It does not go by the open word, which says what writers made
// each other believe.
func (w *blockWorld) Sample() {
	n := uint64(w.blockScope.blocks)
	open, next := (w.b.seq-1)%n, w.b.seq%n
	state := w.b.blocks[open].state.Peek()
	for _, c := range w.calls {
		if c == nil || state&(blockRetired|blockReleasing) == 0 && w.over[open] != w.b.seq && w.filled(open)+c.units < exploredBlock {
			continue // it fits into the open block
		}
		c.full = c.full || w.b.Desc(uint32(next)).Status&tpacket.StatusUser != 0
		c.owned = c.owned || len(w.inside[next]) > 0
		c.releasing = c.releasing || w.b.blocks[next].state.Peek()&blockReleasing != 0
	}
}

// filled says up to where a block's present life is given away.
func (w *blockWorld) filled(block uint64) uint64 {
	if w.lives[block] != w.b.Desc(uint32(block)).SeqNum {
		return exploredFirst // nothing of it yet
	}
	return w.end[block]
}

// onStore is the moment in which a status is stored.
func (w *blockWorld) onStore(block, status uint32) {
	if strings.HasSuffix(explore.RunningName(), "reader") {
		w.handed[block] = w.handed[block] && status != tpacket.StatusKernel
		return
	}
	if status&tpacket.StatusUser == 0 {
		return
	}
	for _, t := range w.inside[block] {
		if t.filling {
			w.Fail(handedOver, true, "packet %d in block %d is being written", t.packet, block)
		}
	}
	w.inside[block] = nil
	w.handed[block] = w.reader == explore.Lawful
	w.over[block] = w.b.Desc(block).SeqNum
}

// readAll is the lawful reader.
func (w *blockWorld) readAll() {
	for block := uint32(0); ; block = (block + 1) % uint32(len(w.handed)) {
		explore.Remember(int(block))
		explore.Take(explore.Step{What: "finds block %d to read, reads the first halves", Args: [2]any{block}, Blocked: func() bool { return w.b.Desc(block).Status&tpacket.StatusUser == 0 }})
		first := w.halves(block, blockFirstHalf)
		explore.Take(explore.Step{What: "reads the second halves in block %d", Args: [2]any{block}})
		w.compare(block, first, w.halves(block, blockSecondHalf))
		w.b.SetStatus(block, tpacket.StatusKernel)
	}
}

// halves follows the packets of a block and reads one half of each.
func (w *blockWorld) halves(block uint32, half uint64) (numbers []int) {
	d := w.b.Desc(block)
	explore.Observe(uint64(d.NumPkts)<<32 | d.SeqNum)
	if w.blocks+1 != d.SeqNum && half == blockFirstHalf {
		w.Fail(explore.OutOfOrder, false, "block %d has sequence number %d after %d", block, d.SeqNum, w.blocks)
	}
	mem := w.mem(block)
	at := uint64(d.OffsetToFirstPkt)
	for i := range d.NumPkts {
		if at+wholePacket*unit > exploredBlock*unit && at+halfPacket*unit > exploredBlock*unit {
			w.Fail(explore.TornRead, false, "packet %d of %d in block %d lies outside it, at byte %d", i+1, d.NumPkts, block, at)
			return numbers
		}
		numbers = append(numbers, int(mem[at+half]))
		explore.Observe(uint64(mem[at+half]))
		next := uint64((*tpacket.Header3)(unsafe.Pointer(&mem[at])).NextOffset)
		if (next == 0) != (i == d.NumPkts-1) {
			w.Fail(explore.TornRead, false, "packet %d of %d in block %d has tp_next_offset %d", i+1, d.NumPkts, block, next)
			return numbers
		}
		at += next
	}
	return numbers
}

func (w *blockWorld) compare(block uint32, first, second []int) {
	for i, n := range first {
		switch {
		case i >= len(second) || second[i] != n || slices.ContainsFunc(w.inside[block], func(t tenant) bool { return t.filling }):
			w.Fail(explore.TornRead, false, "block %d: the first halves are those of packets %v, the second ones of %v", block, first, second)
		case n != w.read+1:
			w.Fail(explore.OutOfOrder, false, "packet %d of %d read after packet %d", n, w.accepted, w.read)
		}
		w.read++
	}
	w.blocks++
}

var blockScribbles = []uint32{tpacket.StatusKernel, tpacket.StatusUser, 1 << 31}

// scribble is a reader that stores KERNEL, USER or something else to any block,
// a bounded number of times.
func (w *blockWorld) scribble() {
	for n := range w.stores {
		explore.Remember(n)
		explore.Take(explore.Step{What: "stores to a status", Choices: len(w.handed) * len(blockScribbles)})
		block, status := uint32(explore.Choice()/len(blockScribbles)), blockScribbles[explore.Choice()%len(blockScribbles)]
		w.Say("%v to block %d", slots.Stored{Field: slots.StatusWord, Value: status}, block)
		explore.Unscheduled(func() { w.b.SetStatus(block, status) }) // the store is the step
	}
}

func (w *blockWorld) expire() {
	for n := range w.expires {
		explore.Remember(n)
		// As tick, but that the timer stops at the first empty block.
		w.b.mu.Lock()
		retired := w.b.expireLocked()
		w.b.parkLocked()
		w.b.mu.Unlock()
		if retired {
			w.b.wake()
		}
	}
}

func (w *blockWorld) close() {
	explore.Remember(0)
	if err := w.b.Close(); err != nil {
		panic(err)
	}
	w.final = int(w.b.Captured()) + 1
	w.Say("has closed the ring, %d packets captured", w.final-1)
}

// finish checks a run that has ended.
func (w *blockWorld) Finish() {
	captured := int(w.b.Captured())
	if w.accepted+w.dropped != w.offered || w.offered != w.writers*len(w.sizes) || captured != w.accepted {
		w.Fail(explore.Miscounted, false, "accepted %d (captured %d) and dropped %d of %d", w.accepted, captured, w.dropped, w.offered)
		return
	}
	if w.closes {
		if w.final != w.accepted+1 {
			w.Fail(explore.Miscounted, false, "captured %d when the ring was closed, accepted %d", w.final-1, w.accepted)
		}
		return // what was in the open block is lost with it
	}
	if w.reader == explore.Lawful {
		w.b.Expire()
		for block := w.blocks % uint64(len(w.handed)); w.b.Reading(uint32(block)); block = w.blocks % uint64(len(w.handed)) {
			w.compare(uint32(block), w.halves(uint32(block), blockFirstHalf), w.halves(uint32(block), blockSecondHalf))
			w.b.SetStatus(uint32(block), tpacket.StatusKernel)
			w.b.Expire()
		}
		if w.read != w.accepted && !w.Failed() {
			w.Fail(explore.LostRead, false, "%d accepted, %d read", w.accepted, w.read)
		}
	}
	// Whatever the reader did: while it hands every block back, there is m.
	for i := range 2*len(w.handed) + 1 {
		m, v := w.b.Acquire(wholePacket * unit)
		if v != ring.Acquired {
			for block := range w.handed {
				w.b.SetStatus(uint32(block), tpacket.StatusKernel)
			}
			m, v = w.b.Acquire(wholePacket * unit)
		}
		if v != ring.Acquired {
			w.Fail(explore.Stuck, false, "packet %d after the end: %v", i, v)
			return
		}
		w.b.Release(m)
	}
}

// key identifies a state.
func (w *blockWorld) Key() explore.Key {
	k := explore.NewKey()
	for i := range w.handed {
		block := uint32(i)
		k.Put(uint64(w.b.Desc(block).Status))
		if w.over[i] != w.b.Desc(block).SeqNum || w.b.Reading(block) { // else what is in it is of no use to anybody
			k.PutBytes(w.mem(block))
		}
	}
	for i := range w.b.blocks {
		k.Put(w.b.blocks[i].state.Peek())
		k.Put(w.b.blocks[i].sealed.Peek())
	}
	k.Put(w.b.open.Peek())
	k.Put(w.b.taken<<33 | w.b.seq<<1 | explore.Bit(w.b.mu.Held()))
	w.PutParties(&k, w.writers, func(i int) (uint64, bool) {
		c := w.calls[i]
		if c == nil {
			return 0, false
		}
		return explore.Bit(c.full) | explore.Bit(c.owned)<<1 | explore.Bit(c.releasing)<<2 | 8, true
	})
	for i, all := range w.inside {
		sorted := slices.SortedFunc(slices.Values(all), func(a, b tenant) int { return cmp.Compare(a.packet, b.packet) })
		for _, t := range sorted {
			k.Put(uint64(t.packet)<<1 | explore.Bit(t.filling))
			k.Put(t.at<<32 | t.life)
		}
		k.Put(w.end[i]<<1 | explore.Bit(w.handed[i]))
		k.Put(w.lives[i]<<32 | w.over[i])
	}
	k.Put(uint64(w.read)<<32 | uint64(w.accepted))
	k.Put(uint64(w.final)<<32 | w.blocks)
	return k
}

// blockScopes are how large the worlds with a reader are. Most offer more than
// the ring has room for: a ring that does not wrap shows little. The long ones take
// more than half of the time.
func blockScopes(reader explore.Reader) (all []blockScope) {
	const h, w, a = halfPacket, wholePacket, allPacket
	of := func(units ...uint64) []uint64 { return units }
	switch reader {
	case explore.Lawful:
		all = []blockScope{
			{writers: 2, blocks: 1, sizes: of(h, h, h)},
			{writers: 2, blocks: 1, sizes: of(w, h), expires: 1, long: true},
			{writers: 2, blocks: 1, sizes: of(h, h), expires: 1},
			{writers: 2, blocks: 2, sizes: of(h, h, h)},
			{writers: 2, blocks: 2, sizes: of(w, w, h)},
			{writers: 2, blocks: 2, sizes: of(a, h)},
			{writers: 2, blocks: 2, sizes: of(h, w), expires: 1},
			{writers: 2, blocks: 2, sizes: of(h, a), expires: 1, long: true},
			{writers: 2, blocks: 3, sizes: of(w, w), expires: 1, long: true},
			{writers: 3, blocks: 1, sizes: of(h, h), long: true},
			{writers: 3, blocks: 1, sizes: of(w), expires: 1},
			{writers: 3, blocks: 2, sizes: of(w), expires: 1},
			{writers: 3, blocks: 2, sizes: of(h), expires: 2, long: true},
			{writers: 2, blocks: 1, sizes: of(w, h), closes: true},
			{writers: 2, blocks: 2, sizes: of(h), expires: 1, closes: true},
			{writers: 2, blocks: 1, sizes: of(h, h, h), batches: true},
			{writers: 2, blocks: 2, sizes: of(h, h), expires: 1, batches: true},
			{writers: 2, blocks: 2, sizes: of(h, h, w), batches: true, long: true},
			{writers: 2, blocks: 1, sizes: of(h, h), closes: true, batches: true},
		}
	case explore.Hostile:
		all = []blockScope{
			{writers: 2, blocks: 1, sizes: of(h, h), expires: 1, stores: 1, long: true},
			{writers: 2, blocks: 1, sizes: of(w, w, h), stores: 1},
			{writers: 2, blocks: 1, sizes: of(h, h), stores: 2},
			{writers: 2, blocks: 2, sizes: of(h, w), expires: 1, stores: 1},
			{writers: 2, blocks: 2, sizes: of(w, w), stores: 2},
			{writers: 3, blocks: 1, sizes: of(w), stores: 2},
			{writers: 3, blocks: 2, sizes: of(w), stores: 2},
			{writers: 2, blocks: 1, sizes: of(h, h), stores: 1, batches: true},
		}
	case explore.Stopped:
		all = []blockScope{
			{writers: 2, blocks: 1, sizes: of(w, h), expires: 1},
			{writers: 2, blocks: 2, sizes: of(h, w), expires: 1},
			{writers: 3, blocks: 2, sizes: of(w), expires: 1},
		}
	}
	if testing.Short() {
		all = slices.DeleteFunc(all, func(s blockScope) bool { return s.long })
	}
	for i := range all {
		all[i].reader = reader
	}
	return all
}

// named is a name for findings.
type named string

func (n named) String() string { return string(n) }

// TestExploreBlocks: with any reader, every rule holds.
func TestExploreBlocks(t *testing.T) {
	debug.SetGCPercent(800)
	states, runs := 0, 0
	for _, reader := range []explore.Reader{explore.Lawful, explore.Hostile, explore.Stopped} {
		found := explore.NewFindings()
		for _, s := range blockScopes(reader) {
			found.Add(s, explore.Search(func() explore.World { return newBlockWorld(s) }))
		}
		found.Check(t, named("blocks"), reader)
		states, runs = states+found.States, runs+found.Runs
	}
	t.Logf("explored %d states in %d runs", states, runs)
}
