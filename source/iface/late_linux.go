package iface

import (
	"slices"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/ring"
)

// The kernel retires the packets of a millisecond at once, or more when the drain had to wait
// for a processor. A reader's ring may be smaller: libpcap's default has 32 slots on a device
// with segments. A receiver without room for a whole batch is late: it receives the rest as
// its reader releases slots, and the batch stays in the kernel's ring meanwhile. The others
// receive theirs at once.
const (
	// maxAlone bounds how long the only receiver, or the only one that has not stopped, may
	// be late without reading. The kernel's ring fills meanwhile, at no other receiver's
	// cost. A reader that writes to a busy disk pauses for hundreds of milliseconds.
	maxAlone = time.Second
	// share is the divisor for the part of the kernel's ring, by time and by bytes, that
	// batches may occupy for late receivers when there are others.
	share = 2
	// nap is how long the drain sleeps before it checks for room again: a released slot
	// wakes no writer. tcpdump reads 32 packets in about that time.
	nap = 50 * time.Microsecond
)

// queue holds the batches that a drain has read and not released, and the receivers that lack
// some of them. Only the drain's goroutine uses it.
type queue struct {
	batches []*batch // oldest first
	spare   []*batch
	read    uint64 // packets read in all
	bytes   uint64 // of the kernel's ring that all weighed batches used, approximately

	// Bounds for late receivers when there are others.
	maxKept  time.Duration
	maxBytes uint64

	block int // size of the kernel's blocks, in bytes

	all, prompt []rxring.Receiver // reused
	alone       bool              // all receivers but one have stopped
	readers     map[rxring.Receiver]*reader
	late        int // readers that are late
}

// reader is a receiver that has been late.
type reader struct {
	late    bool
	next    uint64    // while it is late: the number of its next packet
	roomy   time.Time // while it is late: when it last had room
	stopped bool      // it was not waited for any longer, and has had no room since
}

// minBlock is package capture's block size for packets that fit, in bytes.
const minBlock = 128 << 10

// newQueue returns the queue of a ring with the first snaplen bytes of each packet.
func newQueue(c *Config, snaplen int) queue {
	q := queue{readers: make(map[rxring.Receiver]*reader), block: minBlock}
	for q.block < snaplen+2*overhead {
		q.block *= 2
	}
	if !c.Immediate { // a slot that is read and kept looks like a new one
		q.maxBytes = uint64(c.Buffer / share)
		q.maxKept = min(c.Retire*time.Duration(c.Buffer/q.block)/share, maxAlone)
	}
	return q
}

// maxSpare bounds how many batches are kept for reuse.
const maxSpare = 64

// fresh returns a batch to read into.
func (q *queue) fresh(linked bool) (b *batch) {
	if n := len(q.spare); n > 0 {
		b, q.spare = q.spare[n-1], q.spare[:n-1]
		return b
	}
	return &batch{linked: linked}
}

// push adds a batch.
func (q *queue) push(b *batch) {
	b.first = q.read
	q.read += uint64(b.n)
	q.batches = append(q.batches, b)
}

// weigh counts the bytes of the kernel's ring that b uses. Only batches that may be kept are
// weighed.
func (q *queue) weigh(b *batch) {
	b.bytes = q.bytes
	for i := range b.n {
		q.bytes += q.ringBytes(len(b.frames[i].Data))
	}
}

// overhead is the size of a packet's headers and padding in a block, in bytes.
const overhead = 128

// ringBytes returns approximately how many bytes of the kernel's ring a packet of n bytes uses.
// Packets do not cross the end of a block: the unused rest is counted, too.
func (q *queue) ringBytes(n int) uint64 {
	if n += overhead; n > q.block/8 {
		n = q.block / max(1, q.block/n)
	}
	return uint64(n)
}

// batchOf returns the batch of a packet that was not released, and the packet's index in it.
func (q *queue) batchOf(number uint64) (b *batch, at int) {
	for _, b := range q.batches {
		if i := number - b.first; i < uint64(b.n) {
			return b, int(i)
		}
	}
	panic("iface: a packet that was released is to be delivered")
}

// delivered returns how many packets all receivers have received.
func (q *queue) delivered() uint64 {
	got := q.read
	if q.late > 0 {
		for _, r := range q.readers {
			if r.late {
				got = min(got, r.next)
			}
		}
	}
	return got
}

// release releases to the kernel the batches before packet number delivered.
func (q *queue) release(delivered uint64) {
	n := 0
	for ; n < len(q.batches); n++ {
		b := q.batches[n]
		if b.first+uint64(b.n) > delivered {
			break
		}
		ring.ReleaseBatch(b.frames[:b.n])
		if len(q.spare) < maxSpare {
			q.spare = append(q.spare, b)
		}
	}
	q.batches = append(q.batches[:0], q.batches[n:]...)
}

// split sets q.prompt to the receivers of q.all that get all of b, the newest batch, now. The
// others are late.
func (q *queue) split(b *batch) {
	q.prompt = q.prompt[:0]
	for _, to := range q.all {
		r := q.readers[to]
		if r != nil && r.late {
			continue
		}
		if r != nil && r.stopped || to.HasRoom(b.n) {
			q.prompt = append(q.prompt, to)
			continue
		}
		if r == nil {
			r = new(reader)
			q.readers[to] = r
		}
		r.late, r.next, r.roomy = true, b.first, b.read
		q.late++
	}
}

// restart clears stopped: all receivers have room.
func (q *queue) restart() {
	for _, r := range q.readers {
		r.stopped = false
	}
}

// updateReceivers reads the device's receivers. It removes those that are closed, and clears
// stopped for those that have room again.
func (q *queue) updateReceivers(dev *rxring.Device) {
	q.all = dev.Receivers(q.all[:0])
	stopped := 0
	for to, r := range q.readers {
		switch {
		case !slices.Contains(q.all, to):
			if r.late {
				q.late--
			}
			delete(q.readers, to)
		case r.stopped && to.RoomFor(1) == 0:
			stopped++
		default:
			r.stopped = false
		}
	}
	q.alone = len(q.all)-stopped == 1
}

// grant returns how many packets of b, n at most, a late reader gets now: those that it has
// room for, or all once its time is over.
func (q *queue) grant(to rxring.Receiver, r *reader, b *batch, n int, now time.Time) int {
	room := to.RoomFor(n)
	if room > 0 {
		r.roomy, r.stopped = now, false
	}
	patience := q.maxKept
	if q.alone {
		patience = maxAlone
	}
	if now.Sub(r.roomy) > patience {
		r.stopped = true
		return n
	}
	if !q.alone && (now.Sub(b.read) > q.maxKept || q.bytes-b.bytes > q.maxBytes) {
		return n
	}
	return room
}
