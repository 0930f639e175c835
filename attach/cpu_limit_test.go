package attach

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// Whatever the requests and their order: in any interval, they use no more than its share,
// the burst, and one request.
func TestCPULimit(t *testing.T) {
	for range 200 {
		l := newCPULimit()
		now := time.Unix(1, 0)
		var (
			begun []time.Time
			costs []time.Duration
		)
		longest := time.Duration(1 + rand.Int64N(int64(maxMemoryCost)))
		for range 300 {
			now = now.Add(time.Duration(rand.Int64N(int64(longest))))
			cost := time.Duration(rand.Int64N(int64(longest)))
			now = now.Add(l.charge(now, cost))
			begun, costs = append(begun, now), append(costs, cost)
			now = now.Add(cost)
		}
		for from := range begun {
			sum := time.Duration(0)
			for to := from; to < len(begun); to++ {
				sum += costs[to]
				if bound := begun[to].Sub(begun[from])/cpuDivisor + cpuBurst + longest; sum > bound {
					t.Fatalf("from request %d to %d: %v of processor time, want at most %v", from, to, sum, bound)
				}
			}
		}
	}
}

// After a while, the burst is available again, and no more.
func TestCPULimitRecovers(t *testing.T) {
	l := newCPULimit()
	now := time.Unix(1, 0)
	for _, pause := range []time.Duration{0, cpuBurst * cpuDivisor, 1000 * time.Hour} {
		now = now.Add(pause)
		if wait := l.charge(now, cpuBurst); wait != 0 {
			t.Errorf("after %v: the burst waits for %v", pause, wait)
		}
		if wait := l.charge(now, time.Millisecond); wait != cpuDivisor*time.Millisecond {
			t.Errorf("after %v: after the burst: waits for %v", pause, wait)
		}
		now = now.Add(cpuDivisor * time.Millisecond)
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

// startCost is the cost of a reader's start, as libpcap's, with the device list that a client
// requests first.
func startCost(ring tpacket.Req, instructions int) (sum time.Duration) {
	add := func(o op, m message) {
		cost, _ := requestCost(o, m)
		sum += cost
	}
	var list, prog, size message
	list.u32(0)
	prog.bytes(make([]byte, instructions*cbpf.SizeofInstruction))
	size.u64(uint64(ring.BlockSize) * uint64(ring.BlockNr))
	add(opDevices, list)
	add(opSocket, message{})
	add(opSetsockopt, setRingRequest(ring))
	add(opSetFilter, prog)
	add(opSetFilter, prog) // and before it the one that drops everything
	add(opBind, message{})
	add(opMap, size)
	add(opMapped, message{})
	add(opCounts, message{})
	add(opClose, message{})
	return sum
}

func TestCPULimitLetsHonestReadersStart(t *testing.T) {
	suricata := startCost(tpacket.Req{BlockSize: 1 << 20, BlockNr: 32, FrameSize: 2048, FrameNr: 16384}, 100)
	if sum := 64 * suricata; sum > cpuBurst {
		t.Errorf("64 sockets with rings of 32 MiB: %v, want at most the burst", sum)
	}
	tcpdump := startCost(tpacket.Req{BlockSize: 256 << 10, BlockNr: 8, FrameSize: 256 << 10, FrameNr: 8}, 20)
	if sum := 30 * tcpdump; sum*cpuDivisor > time.Second {
		t.Errorf("30 tcpdumps a second: %v, want at most a %dth of it", sum, cpuDivisor)
	}
}

func TestRequestCost(t *testing.T) {
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
		cost, _ := requestCost(c.o, c.m)
		if free := cost == 0; free != c.free {
			t.Errorf("%s: costs %v", c.what, cost)
		}
		if cost < 0 || cost > maxMemoryCost+2*callCost {
			t.Errorf("%s: costs %v", c.what, cost)
		}
	}
}

// A request that waits, for another one or for the debt, ends with its connection.
func TestCPULimitWaitEndsWithTheConnection(t *testing.T) {
	gone := func() bool { return true }
	here := func() bool { return false }
	closed, cancel := context.WithCancel(t.Context())
	cancel()
	busy := func(l *cpuLimit) { l.sem <- struct{}{} } // another request is served
	inDebt := func(l *cpuLimit) { l.charge(time.Now(), time.Hour) }
	for _, c := range []struct {
		what      string
		prepare   func(*cpuLimit)
		ctx       context.Context
		hasHungUp func() bool
	}{
		{"another request, the peer ends", busy, t.Context(), gone},
		{"another request, the server ends", busy, closed, here},
		{"the debt, the peer ends", inDebt, t.Context(), gone},
		{"the debt, the server ends", inDebt, closed, here},
	} {
		l := newCPULimit()
		c.prepare(l)
		held := len(l.sem)
		if l.acquire(c.ctx, callCost, c.hasHungUp) {
			t.Errorf("waiting for %s: it is served", c.what)
		}
		if len(l.sem) != held {
			t.Errorf("waiting for %s: it has not released the limit", c.what)
		}
	}
	var none *cpuLimit
	if !none.acquire(closed, time.Hour, gone) {
		t.Error("a trusted user waits")
	}
	none.release()
}
