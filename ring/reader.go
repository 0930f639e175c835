package ring

import (
	"context"
	"errors"
	"time"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// ErrClosed is what a Reader returns when its ring is closed and empty.
var ErrClosed = errors.New("ring is closed")

// Reader reads a ring's packets in place, in order. It is the one reader that a
// ring has: one goroutine at a time may call its methods.
type Reader struct {
	ring    *Ring  // nil: it has blocks
	slot    uint32 // the next
	address int    // where a slot has its sockaddr_ll
	blocks  blockReader

	sleep Sleeper
	ready func() bool // Ready, made once
}

// Sleeper is how a [Reader] waits for writers.
type Sleeper interface {
	// Sleep returns nil as soon as ready does, and tries it again whenever the
	// ring may have news; otherwise it returns why it gave up. News after ready
	// was last tried must not be missed.
	Sleep(ctx context.Context, ready func() bool) error

	// SetDeadline makes Sleep, also one that is under way, return
	// [os.ErrDeadlineExceeded] from t on; the zero time: never.
	SetDeadline(t time.Time) error
}

// NewReader returns the reader of b, which sleeps on n, the Notify that b's
// writers wake.
func NewReader(b Buffer, n *Notify) *Reader {
	rd := &Reader{}
	switch b := b.(type) {
	case *Ring:
		rd.setRing(b)
		rd.sleep = NewSleeper(n, closing(&b.closed))
	case *Blocks:
		rd.blocks = newBlockReader(b)
		rd.sleep = NewSleeper(n, closing(&b.closed))
	}
	rd.ready = rd.Ready
	return rd
}

func (rd *Reader) setRing(r *Ring) {
	rd.ring = r
	rd.address = tpacket.Align(r.geo.Version.HeaderSize())
}

// OpenReader returns the reader of a ring that the kernel or another process
// writes, of g's shape, in m, which must hold g.Size() bytes. Nothing that m
// says is believed.
func OpenReader(m *Memory, g tpacket.Geometry, s Sleeper) (*Reader, error) {
	if err := checkShape(m, g); err != nil {
		return nil, err
	}
	rd := &Reader{sleep: s}
	if g.Version == tpacket.V3 {
		rd.blocks = newBlockReader(&Blocks{base: m.base(), geo: g, memory: m})
	} else {
		rd.setRing(newRing(m, g))
	}
	rd.ready = rd.Ready
	return rd, nil
}

// Frame is one packet in its slot. Its bytes are shared memory: they are the
// reader's until Release, and the writers' after it.
type Frame struct {
	Data     []byte // the captured bytes, from the link-layer header (SOCK_RAW) or the network header
	Len      int    // of the packet as it was: more than len(Data) when it was cut
	Status   uint32 // TP_STATUS_USER and others
	Sec      int64
	Nsec     int64 // V1 rings keep microseconds only
	Net      int   // offset of the network header within Data
	VLANTCI  uint16
	VLANTPID uint16
	Hash     uint32 // V3 rings that were asked for it
	From     tpacket.SockaddrLL

	ring   *Ring // nil: it is in a block
	slot   uint32
	blocks *blockReader
}

// Next returns the next packet if there is one. Several may be held at once, fewer
// than the ring has slots; each goes back to the writers with its Release.
func (rd *Reader) Next() (f Frame, ok bool) {
	ok = rd.next(&f)
	return f, ok
}

// NextBatch puts as many packets as there are, and frames has room for, into
// frames, and says how many: never more than the ring has slots, each of which holds
// one packet until its Release.
func (rd *Reader) NextBatch(frames []Frame) (n int) {
	if r := rd.ring; r != nil { // a slot that was read and not released looks like one with a packet
		frames = frames[:min(uint64(len(frames)), uint64(r.geo.FrameNr))]
	}
	for n < len(frames) && rd.next(&frames[n]) {
		n++
	}
	return n
}

// Advance releases the packet in f, unless f is zero, and puts the next one there:
// false, and a zero f, if there is none. It is Release and Next for who needs one
// packet at a time, for less.
func (rd *Reader) Advance(f *Frame) (ok bool) {
	switch {
	case f.ring != nil:
		f.ring.handBack(f.slot)
	case f.blocks != nil:
		rd.blocks.release(f.slot)
	}
	if ok = rd.next(f); !ok {
		*f = Frame{}
	}
	return ok
}

func (rd *Reader) next(f *Frame) bool {
	r := rd.ring
	if r == nil {
		return rd.blocks.next(f)
	}
	status := r.status(rd.slot)
	if !rd.mine(status) {
		return false
	}
	// The memory is shared: each word of it is read once, and offsets are bounded
	// before they are used.
	b := r.Frame(rd.slot)
	var mac, net, snaplen uint32
	if r.wide {
		h := *(*tpacket.Header1)(unsafe.Pointer(&b[0]))
		mac, net, snaplen, f.Len = uint32(h.Mac), uint32(h.Net), h.Snaplen, int(h.Len)
		f.Sec, f.Nsec = int64(h.Sec), int64(h.Usec)*1000
		f.VLANTCI, f.VLANTPID = 0, 0
	} else {
		h := *(*tpacket.Header2)(unsafe.Pointer(&b[0]))
		mac, net, snaplen, f.Len = uint32(h.Mac), uint32(h.Net), h.Snaplen, int(h.Len)
		f.Sec, f.Nsec = int64(h.Sec), int64(h.Nsec)
		f.VLANTCI, f.VLANTPID = h.VLANTCI, h.VLANTPID
	}
	f.Status, f.Hash = status, 0
	f.ring, f.slot, f.blocks = r, rd.slot, nil
	f.From = *(*tpacket.SockaddrLL)(unsafe.Pointer(&b[rd.address]))
	mac = min(mac, uint32(len(b)))
	snaplen = min(snaplen, uint32(len(b))-mac)
	f.Data = b[mac : mac+snaplen : mac+snaplen]
	f.Net = int(min(max(net, mac)-mac, snaplen))
	rd.slot++
	if rd.slot == r.geo.FrameNr {
		rd.slot = 0
	}
	return true
}

// Valid says that writers wrote this packet. It is not when the ring's memory was
// taken away before it was read: there are zeros then.
func (f *Frame) Valid() bool { return f.From.Family == tpacket.AFPacket }

// Whole says that the packet is still there, so that what has been read of it is
// what was written: it has not been released, and the ring's memory has not been
// taken away, as its owner may do at any time. Who copies a packet of another
// process's ring asks afterwards.
func (f *Frame) Whole() bool {
	switch {
	case f.ring != nil:
		return f.ring.status(f.slot) != tpacket.StatusKernel
	case f.blocks != nil:
		return f.blocks.blocks.status(f.slot) != tpacket.StatusKernel
	}
	return false
}

// Release gives the packet's memory back to the writers: its slot, or its block
// with the last packet of it. Any goroutine may call it, for one copy of the
// Frame, which is zero then: once more does nothing.
func (f *Frame) Release() {
	switch {
	case f.ring != nil:
		f.ring.handBack(f.slot)
	case f.blocks != nil:
		f.blocks.done(f.slot, 1)
	}
	*f = Frame{}
}

// Before is the n bytes of the ring's memory right before the packet, where
// PACKET_VNET_HDR has a struct virtio_net_hdr put. It is nil when there are not so
// many, or the packet is empty. They are the reader's as Data is.
func (f *Frame) Before(n int) []byte {
	var base unsafe.Pointer
	switch {
	case len(f.Data) == 0:
		return nil
	case f.ring != nil:
		base = f.ring.base
	case f.blocks != nil:
		base = f.blocks.blocks.base
	}
	p := unsafe.Pointer(unsafe.SliceData(f.Data))
	if base == nil || uintptr(p)-uintptr(base) < uintptr(n) {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(p, -n)), n)
}

// Wait sleeps until Next has a packet, ctx ends, or the ring is closed and Next
// has none ([ErrClosed]). A packet whose writer was in mid-copy when the ring was
// closed is not waited for.
func (rd *Reader) Wait(ctx context.Context) error {
	if rd.Ready() {
		return nil
	}
	return rd.sleep.Sleep(ctx, rd.ready)
}

// SetDeadline makes Wait, also one that is under way, return
// [os.ErrDeadlineExceeded] from t on; the zero time: never. Any goroutine may call
// it.
func (rd *Reader) SetDeadline(t time.Time) error { return rd.sleep.SetDeadline(t) }

// Ready says whether Next has a packet.
func (rd *Reader) Ready() bool {
	if rd.ring == nil {
		return rd.blocks.ready()
	}
	return rd.mine(rd.ring.status(rd.slot))
}

// mine says whether a slot of that status is the reader's. Unlike libpcap's, and
// every reader's from before it, this one knows [StatusKernelOwned].
func (rd *Reader) mine(status uint32) bool {
	return status != tpacket.StatusKernel && status != StatusKernelOwned
}
