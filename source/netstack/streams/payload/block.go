package payload

import (
	"encoding/binary"
	"fmt"
)

// BlockSize is the length of a block in bytes.
const BlockSize = 16

// MinVerify is the length in bytes from which a segment holds a whole block
// whatever its alignment. Shorter ones need [VerifyAt].
const MinVerify = 2*BlockSize - 1

// A block's first word, little-endian: the stream in the upper 16 bits, the
// block's index in the lower 48. A stream is thus 4 PiB long before it repeats.
const (
	indexBits = 48
	indexMask = 1<<indexBits - 1

	// MaxOffset is the first stream offset that a block cannot name.
	// Offsets count modulo MaxOffset.
	MaxOffset = BlockSize << indexBits
)

// Position is a byte's place: Offset bytes after the start of Stream.
type Position struct {
	Stream uint16
	Offset uint64 // below MaxOffset
}

func (p Position) String() string {
	return fmt.Sprintf("stream %d offset %d", p.Stream, p.Offset)
}

// word is the first word of the block that holds p.
func (p Position) word() uint64 {
	return uint64(p.Stream)<<indexBits | p.Offset/BlockSize&indexMask
}

// positionOf is where the block with first word w starts.
func positionOf(w uint64) Position {
	return Position{Stream: uint16(w >> indexBits), Offset: w & indexMask * BlockSize}
}

// add is the position n bytes further on, or back.
func (p Position) add(n int) Position {
	p.Offset = (p.Offset + uint64(n)) & (MaxOffset - 1)
	return p
}

const (
	mixKey = 0x7265616472696e67
	// The odd number nearest to 2^64 / golden ratio: consecutive blocks differ
	// in about half of the bits of their second words.
	mixFactor = 0x9e3779b97f4a7c15
)

// mix is a bijection, so a second word belongs to one first word only.
func mix(w uint64) uint64 {
	x := (w ^ mixKey) * mixFactor
	return x ^ x>>32
}

func putBlock(b *[BlockSize]byte, w uint64) {
	binary.LittleEndian.PutUint64(b[:8], w)
	binary.LittleEndian.PutUint64(b[8:], mix(w))
}

// Fill writes into dst what the stream holds at p. It never fails; offsets
// count modulo MaxOffset. Calls for different dst may run at once.
func Fill(dst []byte, p Position) {
	var block [BlockSize]byte
	w := p.word()
	if skip := int(p.Offset % BlockSize); skip != 0 {
		putBlock(&block, w)
		dst = dst[copy(dst, block[skip:]):]
		w = next(w)
	}
	for len(dst) >= BlockSize {
		putBlock((*[BlockSize]byte)(dst), w)
		dst = dst[BlockSize:]
		w = next(w)
	}
	if len(dst) > 0 {
		putBlock(&block, w)
		copy(dst, block[:])
	}
}

// next is the first word of the block after the one with w.
func next(w uint64) uint64 {
	return w&^uint64(indexMask) | (w+1)&indexMask
}
