package rxring

import (
	"sync"
	"sync/atomic"

	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// queue is a socket's receive queue (sk_receive_queue): the packets of a socket
// without a ring, and whole copies of those that a ring's frames had to cut.
// Writers put in at one end without waiting for the reader; what it holds is
// bounded by SO_RCVBUF, in the kernel's currency.
type queue struct {
	held        atomic.Int64 // sk_rmem_alloc: of truesize
	limit       atomic.Int64 // sk_rcvbuf
	dropped     atomic.Uint32
	reportDrops atomic.Bool   // SO_RXQ_OVFL
	length      atomic.Int64  // packets in it
	epoch       atomic.Uint32 // a new ring empties the queue, and begins another

	mu          sync.Mutex
	first, last *queuedPacket
	read        bool // a packet was taken since the last purge
}

// queuedPacket is a packet in a queue. It is immutable once it is there.
type queuedPacket struct {
	next     *queuedPacket // guarded by the queue's lock
	truesize int64
	budget   *Budget // that it is charged to

	data       []byte // what the socket sees of the packet, cut to the snaplen
	from       tpacket.SockaddrLL
	aux        tpacket.Auxdata
	timestamp  int64
	mark       uint32
	priority   uint32
	dropped    uint32 // sk_drops before it; 0 without SO_RXQ_OVFL
	vnet       vnetHeader
	vnetKnown  bool
	tagInFrame bool // aux has a tag that is in the frame: see Socket.auxdata
}

// truesize returns what a packet of n bytes is charged to SO_RCVBUF: skb->truesize of a TAP
// device's packets on a 64-bit machine with pages of 4 KiB. It is more than the queue keeps.
func truesize(n uint32) int64 {
	const (
		skBuff     = 256 // struct sk_buff
		sharedInfo = 320 // struct skb_shared_info
		headroom   = 64
		cacheLine  = 64
		page       = 4096
	)
	if whole := int64(n) + headroom + sharedInfo; whole > page {
		return skBuff + (whole+page-1)&^(page-1)
	}
	return skBuff + sharedInfo + (int64(n)+headroom+cacheLine-1)&^(cacheLine-1)
}

// reserve charges size bytes to the queue's limit, the budget and the namespace, unless the
// queue is full: the last packet may exceed the queue's limit, as in Linux.
func (q *queue) reserve(ns *Namespace, budget *Budget, size int64) bool {
	for {
		held := q.held.Load()
		if held >= q.limit.Load() {
			return false
		}
		if q.held.CompareAndSwap(held, held+size) {
			break
		}
	}
	if !budget.acquire(size) {
		q.held.Add(-size)
		return false
	}
	if !ns.acquireMemory(budget, size) {
		q.held.Add(-size)
		budget.release(size)
		return false
	}
	return true
}

func (q *queue) release(ns *Namespace, budget *Budget, size int64) {
	q.held.Add(-size)
	budget.release(size)
	ns.releaseMemory(budget, size)
}

// push appends m, whose truesize is reserved, unless the queue was emptied since epoch.
func (q *queue) push(ns *Namespace, m *queuedPacket, epoch uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if epoch != q.epoch.Load() {
		q.release(ns, m.budget, m.truesize)
		return
	}
	if q.last == nil {
		q.first = m
	} else {
		q.last.next = m
	}
	q.last = m
	q.length.Add(1)
}

// pop returns the first packet, nil if there is none, and removes it unless peek is set.
func (q *queue) pop(ns *Namespace, peek bool) *queuedPacket {
	q.mu.Lock()
	defer q.mu.Unlock()
	m := q.first
	if m == nil || peek {
		return m
	}
	if q.first = m.next; q.first == nil {
		q.last = nil
	}
	q.read = true
	q.length.Add(-1)
	q.release(ns, m.budget, m.truesize)
	return m
}

// hasRead reports whether a packet was removed since the last purge.
func (q *queue) hasRead() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.read
}

// purge empties the queue and begins a new epoch: packets of writers in mid-call are
// discarded.
func (q *queue) purge(ns *Namespace) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.epoch.Add(1)
	for m := q.first; m != nil; m = m.next {
		q.release(ns, m.budget, m.truesize)
	}
	q.first, q.last, q.read = nil, nil, false
	q.length.Store(0)
}

// enqueue is packet_rcv after its filter.
func (s *Socket) enqueue(rx *rxOptions, p *Packet, meta *packetMeta, snaplen uint32) {
	size := truesize(meta.capLen)
	if !s.queue.reserve(s.ns, rx.budget, size) {
		s.counters.Drop(ring.Full, 1)
		s.queue.dropped.Add(1)
		return // without a wake-up, as Linux has it
	}
	m := rx.newQueuedPacket(p, meta, snaplen)
	m.truesize = size
	m.from = meta.from
	if !rx.dgram || rx.skipLen(meta)+snaplen >= uint32(meta.tags.end) { // Linux searches the bytes that the filter kept
		m.from.Protocol = rx.protocol(meta)
	} else {
		m.from.Protocol = 0
	}
	if meta.extra&extraLink != 0 {
		p.Link.stamp(&m.from)
	}
	m.aux.Len = meta.length - rx.skipLen(meta)
	if s.queue.reportDrops.Load() {
		m.dropped = s.queue.dropped.Load()
	}
	s.counters.Queued()
	s.queue.push(s.ns, m, rx.epoch)
	s.notify.Wake()
}

// enqueueCopy queues the whole of a packet that its frame has truncated, whatever snaplen
// the socket's own filter returned, if the queue is not full. As in Linux, the queued packet has
// no address and no original length, and without the address no tag is found in its frame.
func (s *Socket) enqueueCopy(rx *rxOptions, p *Packet, meta *packetMeta) bool {
	size := truesize(meta.capLen)
	if !s.queue.reserve(s.ns, rx.budget, size) {
		return false
	}
	m := rx.newQueuedPacket(p, meta, meta.capLen-rx.skipLen(meta))
	m.truesize = size
	m.from = tpacket.SockaddrLL{Family: meta.from.Family, Protocol: rx.protocol(meta)}
	m.aux.Status &^= VLAN{TPID: m.aux.VLANTPID}.status()
	m.aux.Status |= p.VLAN.status()
	m.aux.VLANTCI, m.aux.VLANTPID = p.VLAN.TCI, p.VLAN.TPID
	m.tagInFrame = false
	s.queue.push(s.ns, m, rx.epoch)
	return true
}

// newQueuedPacket copies what the socket sees of a packet, at most snaplen bytes, and the
// values of its control messages.
func (rx *rxOptions) newQueuedPacket(p *Packet, meta *packetMeta, snaplen uint32) *queuedPacket {
	meta.stamp()
	skip, tag := rx.skipLen(meta), rx.vlan(p, meta)
	m := &queuedPacket{
		budget: rx.budget,
		data:   make([]byte, snaplen),
		aux: tpacket.Auxdata{
			Status:   meta.status&^tpacket.StatusTSSoftware | tag.status(),
			Snaplen:  snaplen,
			Net:      uint16(meta.maclen - skip),
			VLANTCI:  tag.TCI,
			VLANTPID: tag.TPID,
		},
		timestamp:  meta.timestamp,
		mark:       p.Mark,
		priority:   p.Priority,
		vnet:       p.vnet(meta, snaplen),
		vnetKnown:  p.GSO.vnetKnown(),
		tagInFrame: tag != p.VLAN,
	}
	gather(m.data, p, skip)
	return m
}
