package attach

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rxring/rxring/tpacket"
)

// Whatever is asked for, in whatever order: of any stretch of time, no more is worked than
// its share, the burst, and one request.
func TestWorkIsBounded(t *testing.T) {
	for range 200 {
		w := newWork()
		now := time.Unix(1, 0)
		var (
			begun []time.Time
			costs []time.Duration
		)
		most := time.Duration(1 + rand.Int64N(int64(mostMemoryCost)))
		for range 300 {
			now = now.Add(time.Duration(rand.Int64N(int64(most))))
			cost := time.Duration(rand.Int64N(int64(most)))
			now = now.Add(w.charge(now, cost))
			begun, costs = append(begun, now), append(costs, cost)
			now = now.Add(cost)
		}
		for from := range begun {
			sum := time.Duration(0)
			for to := from; to < len(begun); to++ {
				sum += costs[to]
				if bound := begun[to].Sub(begun[from])/workShare + workBurst + most; sum > bound {
					t.Fatalf("from request %d to %d: %v of work, want at most %v", from, to, sum, bound)
				}
			}
		}
	}
}

// Who comes back after a while has the burst again, and no more.
func TestWorkIsPaidByTime(t *testing.T) {
	w := newWork()
	now := time.Unix(1, 0)
	for _, pause := range []time.Duration{0, workBurst * workShare, 1000 * time.Hour} {
		now = now.Add(pause)
		if wait := w.charge(now, workBurst); wait != 0 {
			t.Errorf("after %v: the burst waits for %v", pause, wait)
		}
		if wait := w.charge(now, time.Millisecond); wait != workShare*time.Millisecond {
			t.Errorf("after %v: past the burst: waits for %v", pause, wait)
		}
		now = now.Add(workShare * time.Millisecond)
	}
}

// setRingRequest is a request for a receive ring.
func setRingRequest(r tpacket.Req) (m message) {
	m.u32(tpacket.SolPacket)
	m.u32(tpacket.OptRxRing)
	m.flag(false)
	m.bytes(tpacket.Bytes(&r))
	return m
}

// begin is what a reader costs that begins: as libpcap does it, with the device list that a
// client asks for first.
func begin(ring tpacket.Req, instructions int) (sum time.Duration) {
	add := func(o op, m message) {
		cost, _ := costOf(o, m)
		sum += cost
	}
	var list, prog, size message
	list.u32(0)
	prog.bytes(make([]byte, instructions*sizeofFilter))
	size.u64(uint64(ring.BlockSize) * uint64(ring.BlockNr))
	add(opDevices, list)
	add(opSocket, message{})
	add(opSetsockopt, setRingRequest(ring))
	add(opSetFilter, prog)
	add(opSetFilter, prog) // and the one that lets nothing pass before it
	add(opBind, message{})
	add(opMap, size)
	add(opMapped, message{})
	add(opCounts, message{})
	add(opClose, message{})
	return sum
}

func TestWorkOfHonestReaders(t *testing.T) {
	suricata := begin(tpacket.Req{BlockSize: 1 << 20, BlockNr: 32, FrameSize: 2048, FrameNr: 16384}, 100)
	if sum := 64 * suricata; sum > workBurst {
		t.Errorf("64 sockets with rings of 32 MiB: %v, want at most the burst", sum)
	}
	tcpdump := begin(tpacket.Req{BlockSize: 256 << 10, BlockNr: 8, FrameSize: 256 << 10, FrameNr: 8}, 20)
	if sum := 30 * tcpdump; sum*workShare > time.Second {
		t.Errorf("30 tcpdumps a second: %v, want at most a %dth of it", sum, workShare)
	}
}

func TestWhatCosts(t *testing.T) {
	var (
		all  message
		more message
	)
	all.u32(0)
	more.u32(4096)
	option := func(level, name int) (m message) {
		m.u32(uint32(level))
		m.u32(uint32(name))
		m.flag(false)
		return m
	}
	largest := tpacket.Req{BlockSize: 1 << 31, BlockNr: 1<<32 - 1, FrameSize: 16, FrameNr: 1<<32 - 1}
	for _, c := range []struct {
		what string
		o    op
		m    message
		free bool
	}{
		{"a list", opStatus, all, false},
		{"the rest of a list", opStatus, more, true},
		{"a list of nothing", opStatus, message{}, false},
		{"a poll", opPoll, message{}, true},
		{"a packet", opRecv, message{}, true},
		{"an option", opSetsockopt, option(1, 8), true},
		{"an option of the ring's", opSetsockopt, option(tpacket.SolPacket, tpacket.OptVersion), true},
		{"a membership", opSetsockopt, option(tpacket.SolPacket, tpacket.OptAddMembership), false},
		{"a group", opSetsockopt, option(tpacket.SolPacket, tpacket.OptFanout), false},
		{"a ring of nothing", opSetsockopt, option(tpacket.SolPacket, tpacket.OptTxRing), false},
		{"a ring larger than there is", opSetsockopt, setRingRequest(largest), false},
		{"statistics", opGetsockopt, option(tpacket.SolPacket, tpacket.OptStatistics), false},
	} {
		cost, _ := costOf(c.o, c.m)
		if free := cost == 0; free != c.free {
			t.Errorf("%s: costs %v", c.what, cost)
		}
		if cost < 0 || cost > mostMemoryCost+2*callCost {
			t.Errorf("%s: costs %v", c.what, cost)
		}
	}
}

// Who waits for its turn, or until its user has paid, stops when nobody waits for the answer.
func TestWaitingEndsWithTheConnection(t *testing.T) {
	gone := func() bool { return true }
	here := func() bool { return false }
	closed, cancel := context.WithCancel(t.Context())
	cancel()
	paid := func(w *work) { w.turn <- struct{}{} } // somebody else has the turn
	owes := func(w *work) { w.charge(time.Now(), time.Hour) }
	for _, c := range []struct {
		what string
		with func(*work)
		open context.Context
		gone func() bool
	}{
		{"its turn, its peer goes", paid, t.Context(), gone},
		{"its turn, the server ends", paid, closed, here},
		{"the debt, its peer goes", owes, t.Context(), gone},
		{"the debt, the server ends", owes, closed, here},
	} {
		w := newWork()
		c.with(w)
		held := len(w.turn)
		if w.begin(c.open, callCost, c.gone) {
			t.Errorf("waiting for %s: it begins", c.what)
		}
		if len(w.turn) != held {
			t.Errorf("waiting for %s: it has kept the turn", c.what)
		}
	}
	var none *work
	if !none.begin(closed, time.Hour, gone) {
		t.Error("who is trusted waits")
	}
	none.end()
}
