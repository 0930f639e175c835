package ring

import (
	"bytes"
	"encoding/binary"
	"time"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// Frame is one packet in its slot or block. Its bytes are shared memory: the
// reader's until Release, and the writers' after it.
type Frame struct {
	Data     []byte // the captured bytes, from the link-layer header (SOCK_RAW) or the network header
	Len      int    // bytes on the wire: more than len(Data) when the packet was truncated
	Status   uint32 // TP_STATUS_USER and others
	Sec      int64  // with Nsec, the time of capture since 1970
	Nsec     int64  // V1 rings keep microseconds only
	Net      int    // offset of the network header within Data
	VLANTCI  uint16
	VLANTPID uint16
	Hash     uint32 // V3 rings with TP_FT_REQ_FILL_RXHASH
	From     tpacket.SockaddrLL

	slots  *slotReader // nil: it is in a block
	slot   uint32      // or block
	blocks *blockReader
}

// Time is when the packet was captured.
func (f *Frame) Time() time.Time { return time.Unix(f.Sec, f.Nsec) }

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
// It zeroes the Frame: a second Release does nothing.
func (f *Frame) Release() {
	switch {
	case f.slots != nil:
		f.slots.HandBack(f.slot)
	case f.blocks != nil:
		f.blocks.done(f.slot, 1)
	}
	*f = Frame{}
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
