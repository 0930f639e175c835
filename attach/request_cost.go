package attach

import (
	"time"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// The processor time of requests, as measured.
const (
	callCost        = 40 * time.Microsecond // an upper bound
	armCost         = 5 * time.Microsecond  // of opArm
	instructionCost = 150 * time.Nanosecond // of a filter
	slotCost        = 10 * time.Nanosecond  // of the writers' private memory
	pageCost        = 150 * time.Nanosecond
	listCost        = 100 * time.Nanosecond // a byte of a list

	// maxMemoryCost limits the cost of a ring: a request may name more memory than exists.
	maxMemoryCost = 50 * time.Millisecond
)

// requestCost estimates the processor time of a request; 0: negligible. mayWait: it may wait
// for something else than the processor, such as a source, so that other requests of the
// user are served meanwhile. m is positioned after its header and not changed.
func requestCost(o op, m message) (cost time.Duration, mayWait bool) {
	switch o {
	case opSocket, opClose:
		return callCost, false
	case opBind:
		return callCost, true
	case opSetFilter, opFanoutProg:
		return callCost + instructionCost*time.Duration(len(m.rest())/cbpf.SizeofInstruction), false
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
			return callCost / 4, true // it asks sources for what they lost
		}
	case opDevices, opStatus:
		if m.word() == 0 { // the first chunk, for which the list is made
			return callCost, false // sendChunk charges listCost
		}
	}
	return 0, false
}

// ringCost is the cost of a ring: allocating, mapping and freeing it.
func ringCost(val []byte) time.Duration {
	if len(val) < tpacket.SizeofReq {
		return 0
	}
	r := tpacket.Parse[tpacket.Req](val)
	return min(maxMemoryCost, pagesCost(uint64(r.BlockSize)*uint64(r.BlockNr))+slotCost*time.Duration(r.FrameNr))
}

func pagesCost(bytes uint64) time.Duration {
	const pageSize, pages = 4096, uint64(maxMemoryCost / pageCost)
	return pageCost * time.Duration(min(bytes/pageSize, pages))
}
