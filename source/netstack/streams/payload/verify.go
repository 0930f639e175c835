package payload

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrNoBlock says that a segment holds no whole block: it is not stream
// content, or shorter than [MinVerify] and unlucky.
var ErrNoBlock = errors.New("payload: no block of any stream")

// TornError says that a segment is not one consecutive run of one stream.
type TornError struct {
	// Want is what the segment's first byte ought to be: the position that
	// its first whole block, or VerifyAt's caller, puts it at.
	Want Position

	// Bytes Start to End-1 of the segment are not what that run holds there.
	Start, End int

	// Found is the position of the first whole block in that range, which lies
	// FoundAt bytes into the segment. Without one, FoundAt is -1.
	Found   Position
	FoundAt int
}

func (e *TornError) Error() string {
	s := fmt.Sprintf("payload: bytes %d to %d are not those of %v", e.Start, e.End-1, e.Want.add(e.Start))
	if e.FoundAt < 0 {
		return s + ", nor of any stream"
	}
	return s + fmt.Sprintf(": %v begins at byte %d", e.Found, e.FoundAt)
}

// Verify finds out which piece of which stream the segment is, and demands
// that every byte of it is that. It returns the position of the first byte; a
// [*TornError] if there is a whole block in the segment, but not everything
// around it belongs to it; [ErrNoBlock] if there is none. It keeps nothing, and
// calls may run at once.
func Verify(segment []byte) (Position, error) {
	at, w, ok := find(segment)
	if !ok {
		return Position{}, ErrNoBlock
	}
	p := positionOf(w).add(-at)
	return p, VerifyAt(segment, p)
}

// VerifyAt demands that the segment, of any length, is what the stream holds
// at p. Its error is a [*TornError].
func VerifyAt(segment []byte, p Position) error {
	if first := match(segment, p); first < len(segment) {
		return torn(segment, p, first)
	}
	return nil
}

// Find returns the place and the position of the first whole block in b.
func Find(b []byte) (at int, p Position, ok bool) {
	at, w, ok := find(b)
	return at, positionOf(w), ok
}

func find(b []byte) (at int, w uint64, ok bool) {
	for at = 0; at+BlockSize <= len(b); at++ {
		w = binary.LittleEndian.Uint64(b[at:])
		if binary.LittleEndian.Uint64(b[at+8:]) == mix(w) {
			return at, w, true
		}
	}
	return 0, 0, false
}

// match returns how many leading bytes of b are those of the stream at p.
func match(b []byte, p Position) int {
	n := 0
	if p.Offset%BlockSize != 0 || len(b) < BlockSize {
		n = matchPart(b, p)
		if n == len(b) || (p.Offset+uint64(n))%BlockSize != 0 {
			return n
		}
	}
	w := p.add(n).word()
	// Four blocks a turn: one branch for 64 bytes, and the multiplications
	// overlap. Not across the end of the index, where next wraps.
	for ; n+4*BlockSize <= len(b) && w&indexMask < indexMask-4; n, w = n+4*BlockSize, w+4 {
		c := (*[4 * BlockSize]byte)(b[n:])
		diff := binary.LittleEndian.Uint64(c[0:]) ^ w
		diff |= binary.LittleEndian.Uint64(c[8:]) ^ mix(w)
		diff |= binary.LittleEndian.Uint64(c[16:]) ^ (w + 1)
		diff |= binary.LittleEndian.Uint64(c[24:]) ^ mix(w+1)
		diff |= binary.LittleEndian.Uint64(c[32:]) ^ (w + 2)
		diff |= binary.LittleEndian.Uint64(c[40:]) ^ mix(w+2)
		diff |= binary.LittleEndian.Uint64(c[48:]) ^ (w + 3)
		diff |= binary.LittleEndian.Uint64(c[56:]) ^ mix(w+3)
		if diff != 0 {
			break
		}
	}
	for n < len(b) {
		m := matchPart(b[n:], p.add(n))
		n += m
		if (p.Offset+uint64(n))%BlockSize != 0 {
			break // in mid-block: a difference, or the end
		}
		if m == 0 {
			break
		}
	}
	return n
}

// matchPart returns how many leading bytes of b are those of the rest of the
// block that p lies in.
func matchPart(b []byte, p Position) int {
	var block [BlockSize]byte
	putBlock(&block, p.word())
	want := block[p.Offset%BlockSize:]
	n := min(len(b), len(want))
	for i := range n {
		if b[i] != want[i] {
			return i
		}
	}
	return n
}

// torn describes what is wrong with a segment whose byte first is.
func torn(segment []byte, want Position, first int) *TornError {
	e := &TornError{Want: want, Start: first, End: first + 1, FoundAt: -1}
	// The range ends with the last wrong byte before a whole block that is
	// right again.
	right := 0
	for i := first + 1; i < len(segment) && right < BlockSize; {
		p := want.add(i)
		part := min(BlockSize-int(p.Offset%BlockSize), len(segment)-i)
		switch n := matchPart(segment[i:], p); {
		case n == part:
			right += n
			i += n
		default:
			right = 0
			i += n + 1
			e.End = i
		}
	}
	// A block that is right can begin before the range and reach into it, when
	// the tear is in mid-block: look only for one that is not the run's own.
	for i := max(first-BlockSize+1, 0); i+BlockSize <= len(segment) && i < e.End; i++ {
		at, w, ok := find(segment[i:min(len(segment), e.End+BlockSize-1)])
		if !ok {
			break
		}
		i += at
		if p := positionOf(w); p != want.add(i) && i < e.End {
			e.Found, e.FoundAt = p, i
			break
		}
	}
	return e
}
