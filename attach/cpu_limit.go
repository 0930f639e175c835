package attach

import (
	"context"
	"sync"
	"time"

	"github.com/rxring/rxring/tpacket"
)

// What the requests of one user may cost: a fifth of one processor's time, of which half a
// second may be taken at once. So much takes 64 sockets with rings of 32 MiB.
const (
	workBurst = 500 * time.Millisecond
	workShare = 5 // one of so many seconds
)

// work has the costly requests of one user done one after another, and not too many of them.
// A nil work bounds nothing.
type work struct {
	turn chan struct{} // has an element while somebody has the turn

	mu   sync.Mutex
	owed time.Duration // of processor time, at that moment:
	at   time.Time
}

func newWork() *work { return &work{turn: make(chan struct{}, 1)} }

// charge adds a cost, and returns how long to wait before the work that it is for.
func (w *work) charge(now time.Time, cost time.Duration) (wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if paid := now.Sub(w.at); paid > 0 {
		w.owed = max(0, w.owed-paid/workShare)
		w.at = now
	}
	w.owed += cost
	return max(0, w.owed-workBurst) * workShare
}

// begin returns when it is the turn of a request of that cost, and end is to be called
// after it. It is false if the connection has ended first: then gone has said so.
func (w *work) begin(open context.Context, cost time.Duration, gone func() bool) bool {
	if w == nil {
		return true
	}
	const look = 50 * time.Millisecond // every so often, whether anybody still waits for an answer
	t := time.NewTicker(look)
	defer t.Stop()
	for taken := false; !taken; {
		select {
		case w.turn <- struct{}{}:
			taken = true
		case <-open.Done():
			return false
		case <-t.C:
			if gone() {
				return false
			}
		}
	}
	for wait := w.charge(time.Now(), cost); wait > 0; wait -= look {
		select {
		case <-open.Done():
			w.end()
			return false
		case <-time.After(min(wait, look)):
		}
		if gone() {
			w.end()
			return false
		}
	}
	return true
}

// end gives the turn to the next.
func (w *work) end() {
	if w != nil {
		<-w.turn
	}
}

// costOf is about what a request costs this process, 0: nothing to speak of. It waits if it
// may wait for others than the processor, such as a source: then others of its user do not
// wait with it. m is after its header, and stays as it is.
func costOf(o op, m message) (cost time.Duration, waits bool) {
	switch o {
	case opSocket, opClose:
		return callCost, false
	case opBind:
		return callCost, true
	case opSetFilter, opFanoutProg:
		return callCost + instructionCost*time.Duration(len(m.rest())/sizeofFilter), false
	case opGetFilter, opCounts:
		return callCost / 4, false
	case opMap:
		return callCost + pagesCost(m.long()), false
	case opMapped:
		return callCost, false
	case opSetsockopt:
		level, name, _, val := m.int(), m.int(), m.yes(), m.rest()
		switch {
		case level != tpacket.SolPacket:
		case name == tpacket.OptRxRing, name == tpacket.OptTxRing:
			return 2*callCost + ringCost(val), false
		case name == tpacket.OptAddMembership, name == tpacket.OptDropMembership, name == tpacket.OptFanout:
			return callCost, true
		}
	case opGetsockopt:
		if level, name := m.int(), m.int(); level == tpacket.SolPacket && name == tpacket.OptStatistics {
			return callCost / 4, true // sources are asked
		}
	case opDevices, opStatus:
		if m.word() == 0 { // it is made
			return callCost, false // and listCost
		}
	}
	return 0, false
}

// Costs, as measured.
const (
	callCost        = 40 * time.Microsecond // more than a call
	instructionCost = 150 * time.Nanosecond
	slotCost        = 10 * time.Nanosecond // writers' private memory
	pageCost        = 150 * time.Nanosecond
	listCost        = 100 * time.Nanosecond // a byte of a list

	// mostMemoryCost is that of the largest ring: what is asked for may be more than there is.
	mostMemoryCost = 50 * time.Millisecond
)

// ringCost is that of a ring, of mapping its memory and of freeing it.
func ringCost(val []byte) time.Duration {
	if len(val) < tpacket.SizeofReq {
		return 0
	}
	r := tpacket.Parse[tpacket.Req](val)
	return min(mostMemoryCost, pagesCost(uint64(r.BlockSize)*uint64(r.BlockNr))+slotCost*time.Duration(r.FrameNr))
}

func pagesCost(bytes uint64) time.Duration {
	const pageSize, pages = 4096, uint64(mostMemoryCost / pageCost)
	return pageCost * time.Duration(min(bytes/pageSize, pages))
}
