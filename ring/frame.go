package ring

import (
	"bytes"
	"encoding/binary"
	"time"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// Frame is one packet in its slot or block. Its bytes are shared memory: the
// reader's until Release, and the writers' after it. The other fields are copies.
type Frame struct {
	Data []byte // the captured bytes, from the link-layer header (SOCK_RAW) or the network header
	Len  int    // bytes on the wire: more than len(Data) when the packet was truncated
	Net  int    // offset of the network header within Data

	// The headers of a packet in a block, which are copied at once: see headers3.
	next      uint32
	sec, nsec uint32
	_         [2]uint32
	Status    uint32 // TP_STATUS_USER and others
	_         [2]uint16
	Hash      uint32 // V3 rings with TP_FT_REQ_FILL_RXHASH
	VLANTCI   uint32 // 16 bits
	VLANTPID  uint16
	_         [10]byte
	From      tpacket.SockaddrLL

	slot   uint32      // or block
	slots  *slotReader // nil: it is in a block
	blocks *blockReader
}

// headers3 is what a packet in a block begins with.
type headers3 struct {
	tpacket.Header3
	from tpacket.SockaddrLL
}

// headers returns f's copy of the headers.
func (f *Frame) headers() *headers3 { return (*headers3)(unsafe.Pointer(&f.next)) }

// The compiler checks that f's fields lie as headers3 has them.
var (
	_ [unsafe.Offsetof(headers3{}.Sec)]byte      = [unsafe.Offsetof(Frame{}.sec) - unsafe.Offsetof(Frame{}.next)]byte{}
	_ [unsafe.Offsetof(headers3{}.Status)]byte   = [unsafe.Offsetof(Frame{}.Status) - unsafe.Offsetof(Frame{}.next)]byte{}
	_ [unsafe.Offsetof(headers3{}.RxHash)]byte   = [unsafe.Offsetof(Frame{}.Hash) - unsafe.Offsetof(Frame{}.next)]byte{}
	_ [unsafe.Offsetof(headers3{}.VLANTPID)]byte = [unsafe.Offsetof(Frame{}.VLANTPID) - unsafe.Offsetof(Frame{}.next)]byte{}
	_ [unsafe.Offsetof(headers3{}.from)]byte     = [unsafe.Offsetof(Frame{}.From) - unsafe.Offsetof(Frame{}.next)]byte{}
)

// setData sets Data and Net for a packet whose headers are at p, with room bytes from there on:
// at least one. mac, net and snaplen are those of the headers, which are not trusted.
func (f *Frame) setData(p unsafe.Pointer, room, mac, net, snaplen uint32) {
	mac = min(mac, room)
	snaplen = min(snaplen, room-mac)
	// A pointer right behind the ring's memory would be one to other memory.
	f.Data = unsafe.Slice((*byte)(unsafe.Add(p, min(mac, room-1))), snaplen)
	f.Net = int(min(max(net, mac)-mac, snaplen))
}

// Time is when the packet was captured.
func (f *Frame) Time() time.Time { return time.Unix(int64(f.sec), int64(f.nsec)) }

// UnixNano is when the packet was captured, in nanoseconds since 1970. V1 rings keep
// microseconds only.
func (f *Frame) UnixNano() int64 { return int64(f.sec)*int64(time.Second) + int64(f.nsec) }

// Clone returns a copy of the packet in memory of its own, which stays as it is
// after f's Release. Its own Release does nothing, and it is not Intact.
func (f *Frame) Clone() Frame {
	c := *f
	c.Data, c.slots, c.blocks = bytes.Clone(f.Data), nil, nil
	return c
}

// Written reports whether a writer wrote the packet. It is false, and the packet
// zeros, if the ring's memory was taken away before the packet was read.
func (f *Frame) Written() bool { return f.From.Family == tpacket.AFPacket }

// Intact reports whether the packet is still in the ring: what was read of it so far
// is what the writer wrote. It is false after Release, or when the owner of the
// ring's memory has taken it away, as it may at any time. A program that copies a
// packet out of another process's ring checks it afterwards.
func (f *Frame) Intact() bool {
	switch {
	case f.slots != nil:
		return f.slots.Status(f.slot) != tpacket.StatusKernel
	case f.blocks != nil:
		return f.blocks.Status(f.slot) != tpacket.StatusKernel
	}
	return false
}

// Release gives the packet's memory back to the writers: its slot, or its block
// with the last packet of it. Any goroutine may call it, for one copy of the Frame.
// Data is nil afterwards, and a second Release does nothing.
func (f *Frame) Release() {
	switch {
	case f.slots != nil:
		f.slots.HandBack(f.slot)
	case f.blocks != nil:
		f.blocks.done(f.slot, 1)
	}
	f.detach()
}

// detach makes f a frame that is in no ring.
func (f *Frame) detach() { f.Data, f.slots, f.blocks = nil, nil, nil }

// ReleaseBatch calls Release for each frame. It is cheaper where adjacent frames are
// in the same block.
func ReleaseBatch(frames []Frame) {
	for len(frames) > 0 {
		blocks, block := frames[0].blocks, frames[0].slot
		if blocks == nil {
			frames[0].Release()
			frames = frames[1:]
			continue
		}
		n := 0
		for n < len(frames) && frames[n].blocks == blocks && frames[n].slot == block {
			frames[n].detach()
			n++
		}
		blocks.done(block, uint32(n))
		frames = frames[n:]
	}
}

// Comment returns the packet's comment (rxring.Packet.Comment), "" if it has none, or if the
// ring's socket did not ask for comments. It must be called before Release; a Clone has none.
func (f *Frame) Comment() string {
	if f.Status&tpacket.StatusComment == 0 || len(f.Data) == 0 {
		return ""
	}
	behind := f.behind()
	if len(behind) < tpacket.SizeofCommentLen {
		return ""
	}
	n := int(binary.NativeEndian.Uint16(behind)) // once: the memory is shared
	behind = behind[tpacket.SizeofCommentLen:]
	return string(behind[:min(n, len(behind))])
}

// behind returns the ring's memory behind the packet's bytes.
func (f *Frame) behind() []byte {
	var m []byte
	switch {
	case f.slots != nil:
		m = f.slots.memory.Bytes()
	case f.blocks != nil:
		m = f.blocks.memory.Bytes()
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(f.Data))) - uintptr(unsafe.Pointer(unsafe.SliceData(m)))
	if at >= uintptr(len(m)) { // Data is not the ring's any more
		return nil
	}
	return m[at:][min(len(f.Data), len(m)-int(at)):]
}

// Headroom is the n bytes of the ring's memory right before the packet, where
// PACKET_VNET_HDR stores a struct virtio_net_hdr. It is nil when the ring begins
// later, or the packet is empty. The bytes are the reader's until Release.
func (f *Frame) Headroom(n int) []byte {
	var base unsafe.Pointer
	switch {
	case len(f.Data) == 0:
		return nil
	case f.slots != nil:
		base = f.slots.Base()
	case f.blocks != nil:
		base = f.blocks.Base()
	}
	p := unsafe.Pointer(unsafe.SliceData(f.Data))
	if base == nil || uintptr(p)-uintptr(base) < uintptr(n) {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Add(p, -n)), n)
}
