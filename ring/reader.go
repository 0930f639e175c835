package ring

import (
	"context"
	"errors"
	"sync/atomic"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// ErrClosed is what a Reader returns when its ring is closed and empty.
var ErrClosed = errors.New("ring is closed")

// Reader reads a ring's packets in place, in order. It is the one reader that a
// ring has: one goroutine at a time may call its methods.
type Reader struct {
	ring   *Ring  // nil: it has blocks
	next   uint32 // slot
	blocks blockReader

	closed *atomic.Bool // the ring's
	notify *Notify
	wake   chan struct{}
}

// NewReader returns the reader of b, which sleeps on n, the Notify that b's
// writers wake.
func NewReader(b Buffer, n *Notify) *Reader {
	rd := &Reader{notify: n, wake: make(chan struct{}, 1)}
	switch b := b.(type) {
	case *Ring:
		rd.ring, rd.closed = b, &b.closed
	case *Blocks:
		rd.blocks, rd.closed = newBlockReader(b, rd), &b.closed
	}
	return rd
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

// Next returns the next packet if there is one. Several may be held at once;
// each goes back to the writers with its Release.
func (rd *Reader) Next() (f Frame, ok bool) {
	r := rd.ring
	if r == nil {
		return rd.blocks.next()
	}
	status := r.status(rd.next)
	if !rd.mine(status) {
		return Frame{}, false
	}
	f = Frame{Status: status, ring: r, slot: rd.next}
	b := r.Frame(rd.next)
	var mac, net, snaplen uint32
	if r.wide {
		h := *(*tpacket.Header1)(unsafe.Pointer(&b[0]))
		mac, net, snaplen, f.Len = uint32(h.Mac), uint32(h.Net), h.Snaplen, int(h.Len)
		f.Sec, f.Nsec = int64(h.Sec), int64(h.Usec)*1000
	} else {
		h := *(*tpacket.Header2)(unsafe.Pointer(&b[0]))
		mac, net, snaplen, f.Len = uint32(h.Mac), uint32(h.Net), h.Snaplen, int(h.Len)
		f.Sec, f.Nsec = int64(h.Sec), int64(h.Nsec)
		f.VLANTCI, f.VLANTPID = h.VLANTCI, h.VLANTPID
	}
	f.From = tpacket.Parse[tpacket.SockaddrLL](b[tpacket.Align(r.geo.Version.HeaderSize()):])
	// The memory is shared: offsets from it are bounded before they are used.
	mac = min(mac, uint32(len(b)))
	snaplen = min(snaplen, uint32(len(b))-mac)
	f.Data = b[mac : mac+snaplen : mac+snaplen]
	f.Net = int(min(max(net, mac)-mac, snaplen))
	rd.next++
	if rd.next == r.geo.FrameNr {
		rd.next = 0
	}
	return f, true
}

// Release gives the packet's memory back to the writers: its slot, or its block
// with the last packet of it. It must be called once, from any goroutine.
func (f *Frame) Release() {
	if f.ring == nil {
		f.blocks.done(f.slot, 1)
		return
	}
	f.ring.setStatus(f.slot, tpacket.StatusKernel)
}

// Wait sleeps until Next has a packet, ctx ends, or the ring is closed and Next
// has none ([ErrClosed]). A packet whose writer was in mid-copy when the ring was
// closed is not waited for.
func (rd *Reader) Wait(ctx context.Context) error {
	for {
		if rd.ready() {
			return nil
		}
		rd.notify.Arm(rd)
		if rd.ready() || rd.closed.Load() { // look again: see Notify
			rd.notify.Disarm(rd)
			if rd.ready() {
				return nil
			}
			return ErrClosed
		}
		select {
		case <-rd.wake:
		case <-ctx.Done():
			rd.notify.Disarm(rd)
			return ctx.Err()
		}
	}
}

func (rd *Reader) ready() bool {
	if rd.ring == nil {
		return rd.blocks.ready()
	}
	return rd.mine(rd.ring.status(rd.next))
}

// mine says whether a slot of that status is the reader's. Unlike libpcap's, and
// every reader's from before it, this one knows [StatusKernelOwned].
func (rd *Reader) mine(status uint32) bool {
	return status != tpacket.StatusKernel && status != StatusKernelOwned
}

// Wake implements [Waker].
func (rd *Reader) Wake() {
	select {
	case rd.wake <- struct{}{}:
	default: // already awake
	}
}
