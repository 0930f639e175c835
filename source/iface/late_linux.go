package iface

import (
	"slices"
	"time"

	"github.com/rxring/rxring"
)

// The kernel hands over what came within a millisecond at once, or more when the drain
// had to wait for a processor. A reader's ring may be smaller: libpcap's default has 32
// slots where segments can come. A receiver without room for all of a batch is late: it
// gets the rest as its reader hands slots back, and the batch stays in the kernel's ring
// meanwhile. The others get theirs at once.
const (
	// maxAlone bounds how long the only receiver, or the only one that has not stopped, may
	// be late without reading anything. The kernel's ring fills meanwhile, which costs
	// nobody else. A reader that writes to a busy disk stands still for hundreds of
	// milliseconds.
	maxAlone = time.Second
	// share is the part of the kernel's ring that batches may keep for late receivers
	// when there are others: one in share, by time and by bytes.
	share = 2
	// nap is how long the drain sleeps before it looks for room again: nobody tells when
	// a slot is handed back. tcpdump reads 32 packets in about that time.
	nap = 50 * time.Microsecond
)

// queue is the batches that a drain has read and not released, and who has not got all
// of them yet. Its drain's goroutine owns it.
type queue struct {
	batches []*batch // oldest first
	spare   []*batch
	read    uint64 // packets read in all
	bytes   uint64 // of the kernel's ring, about, that those took that were weighed

	// What a late receiver may keep when there are others.
	maxKept  time.Duration
	maxBytes uint64

	block int // of the kernel's ring, in bytes

	all, prompt []rxring.Receiver // reused
	alone       bool              // all others of them have stopped
	readers     map[rxring.Receiver]*reader
	late        int // readers that are late
}

// reader is a receiver that has been late.
type reader struct {
	late    bool
	next    uint64    // while it is late: the number of its next packet
	roomy   time.Time // while it is late: when it last had room
	stopped bool      // it was given up, and has had no room since
}

// minBlock is what package capture asks for where packets are not longer, in bytes.
const minBlock = 128 << 10

// newQueue is for a ring that has the first snaplen bytes of each packet.
func newQueue(c *Config, snaplen int) queue {
	q := queue{readers: make(map[rxring.Receiver]*reader), block: minBlock}
	for q.block < snaplen+2*overhead {
		q.block *= 2
	}
	if !c.Immediate { // a slot that is read and kept cannot be told from a new one
		q.maxBytes = uint64(c.Buffer / share)
		q.maxKept = min(c.Retire*time.Duration(c.Buffer/q.block)/share, maxAlone)
	}
	return q
}

// maxSpare bounds how many batches are kept to be used again.
const maxSpare = 64

// fresh is a batch to read into.
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

// weigh counts what b takes of the kernel's ring. It is for batches that may be kept.
func (q *queue) weigh(b *batch) {
	b.bytes = q.bytes
	for i := range b.n {
		q.bytes += q.takes(len(b.frames[i].Data))
	}
}

// overhead is what a packet takes in a block beside its bytes: headers and padding.
const overhead = 128

// takes is how many bytes of the kernel's ring a packet of n bytes takes, about. Packets do
// not cross the end of a block: what is left there belongs to them, too.
func (q *queue) takes(n int) uint64 {
	if n += overhead; n > q.block/8 {
		n = q.block / max(1, q.block/n)
	}
	return uint64(n)
}

// batchOf is the batch with a packet that was not released, and the packet's place in it.
func (q *queue) batchOf(number uint64) (b *batch, at int) {
	for _, b := range q.batches {
		if i := number - b.first; i < uint64(b.n) {
			return b, int(i)
		}
	}
	panic("iface: a packet that was released is to be delivered")
}

// delivered is how many packets all receivers have got.
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

// release gives batches that all receivers have got back to the kernel.
func (q *queue) release(delivered uint64) {
	n := 0
	for ; n < len(q.batches); n++ {
		b := q.batches[n]
		if b.first+uint64(b.n) > delivered {
			break
		}
		for i := range b.n {
			b.frames[i].Release()
		}
		if len(q.spare) < maxSpare {
			q.spare = append(q.spare, b)
		}
	}
	q.batches = append(q.batches[:0], q.batches[n:]...)
}

// split says who of q.all is to get all of b, the newest batch, now: prompt. The others
// are late.
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

// restart is for when all have room: those that had stopped read again.
func (q *queue) restart() {
	for _, r := range q.readers {
		r.stopped = false
	}
}

// look asks the device for its receivers. It forgets those that are gone, and sees which
// of those that had stopped have room again.
func (q *queue) look(dev *rxring.Device) {
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

// grant says how many packets of b, n at most, a late reader is to get now: those that it
// has room for, all if it is not waited for any longer.
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
