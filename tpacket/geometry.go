package tpacket

import (
	"fmt"
	"math"
	"syscall"
)

// RequestError names the field for which Linux refuses a ring request. It unwraps to
// the errno that the system call returns.
type RequestError struct {
	Field string        // C name: tp_block_size, ...
	Value uint64        // the field's value
	Want  string        // what would have been accepted
	Errno syscall.Errno // EINVAL or ENOMEM
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("ring request: %s %d: want %s: %v", e.Field, e.Value, e.Want, e.Errno)
}

func (e *RequestError) Unwrap() error { return e.Errno }

// Geometry is the geometry of a valid ring. It is in private memory: none of it
// is ever read back from the ring.
type Geometry struct {
	Version        Version
	BlockSize      uint32
	BlockNr        uint32
	FrameSize      uint32
	FrameNr        uint32
	FramesPerBlock uint32
}

// Layout checks a ring request exactly as packet_set_ring does (the same
// checks in the same order, so the same errno for a request with two faults)
// and returns the ring's geometry. reserve is the socket's PACKET_RESERVE and
// pageSize the machine's page size, both in bytes. For V1 and V2 only the Req
// part of r is checked.
//
// A request with BlockNr 0 removes the ring and has no layout: [Req.Teardown] checks
// it.
func Layout(v Version, r Req3, reserve uint32, pageSize int) (Geometry, error) {
	refuse := func(field string, value uint64, want string, args ...any) (Geometry, error) {
		return Geometry{}, &RequestError{field, value, fmt.Sprintf(want, args...), syscall.EINVAL}
	}
	if v > V3 {
		return refuse("tp_version", uint64(v), "0 (V1), 1 (V2) or 2 (V3)")
	}
	if r.BlockNr == 0 {
		return refuse("tp_block_nr", 0, "at least 1 block")
	}
	if r.BlockSize == 0 || r.BlockSize > math.MaxInt32 {
		return refuse("tp_block_size", uint64(r.BlockSize), "1 to %d bytes", math.MaxInt32)
	}
	if r.BlockSize%uint32(pageSize) != 0 {
		return refuse("tp_block_size", uint64(r.BlockSize), "a multiple of the page size, %d", pageSize)
	}
	minFrame := uint64(v.HdrLen()) + uint64(reserve)
	if v == V3 {
		if need := BlockPlusPriv(r.SizeofPriv) + minFrame; uint64(r.BlockSize) < need {
			return refuse("tp_block_size", uint64(r.BlockSize), "at least %d bytes for block header, private area and one frame header", need)
		}
	}
	if uint64(r.FrameSize) < minFrame {
		return refuse("tp_frame_size", uint64(r.FrameSize), "at least %d bytes for the frame header and the reserve", minFrame)
	}
	if r.FrameSize%Alignment != 0 {
		return refuse("tp_frame_size", uint64(r.FrameSize), "a multiple of %d", Alignment)
	}
	perBlock := r.BlockSize / r.FrameSize
	if perBlock == 0 {
		return refuse("tp_frame_size", uint64(r.FrameSize), "at most the block size, %d", r.BlockSize)
	}
	if perBlock > math.MaxUint32/r.BlockNr {
		return refuse("tp_block_nr", uint64(r.BlockNr), "at most %d blocks of %d frames", math.MaxUint32/perBlock, perBlock)
	}
	if perBlock*r.BlockNr != r.FrameNr {
		return refuse("tp_frame_nr", uint64(r.FrameNr), "%d blocks x %d frames = %d", r.BlockNr, perBlock, perBlock*r.BlockNr)
	}
	return Geometry{
		Version:        v,
		BlockSize:      r.BlockSize,
		BlockNr:        r.BlockNr,
		FrameSize:      r.FrameSize,
		FrameNr:        r.FrameNr,
		FramesPerBlock: perBlock,
	}, nil
}

// Teardown checks a request with BlockNr 0, which removes the ring. The errno is EINVAL
// if FrameNr is not 0.
func (r Req) Teardown() error {
	if r.FrameNr != 0 {
		return &RequestError{"tp_frame_nr", uint64(r.FrameNr), "0 when tp_block_nr is 0", syscall.EINVAL}
	}
	return nil
}

// BlockPlusPriv is BLK_PLUS_PRIV: the V3 block header and the private area of
// priv bytes, each rounded up to 8 bytes. A block's first packet starts there.
func BlockPlusPriv(priv uint32) uint64 {
	return SizeofBlockDesc + (uint64(priv)+7)&^7
}

// Size returns the ring's length in bytes, the length to pass to mmap.
func (g Geometry) Size() int { return int(g.BlockSize) * int(g.BlockNr) }

// FrameOffset returns the offset of frame i in bytes from the start of the ring.
// Frames never cross the end of a block, so a block whose size is no multiple
// of the frame size ends with unused bytes.
func (g Geometry) FrameOffset(i uint32) int {
	block, frame := i/g.FramesPerBlock, i%g.FramesPerBlock
	return int(block)*int(g.BlockSize) + int(frame)*int(g.FrameSize)
}

// Offsets are those of a packet's headers, in bytes from the frame's start.
type Offsets struct {
	Mac, Net uint32
}

// RawOffsets returns the offsets for a SOCK_RAW socket. maclen is the length of the
// packet's link-layer header, and vnetLen that of the virtio_net_hdr that
// PACKET_VNET_HDR adds, 0 without.
func RawOffsets(v Version, maclen, reserve, vnetLen uint32) Offsets {
	net := uint32(Align(v.HdrLen()+int(max(maclen, 16)))) + reserve + vnetLen
	return Offsets{Mac: net - maclen, Net: net}
}

// DgramOffsets returns the offsets for a SOCK_DGRAM socket, whose frames start at
// the network header.
func DgramOffsets(v Version, reserve uint32) Offsets {
	net := uint32(Align(v.HdrLen())) + 16 + reserve
	return Offsets{Mac: net, Net: net}
}
