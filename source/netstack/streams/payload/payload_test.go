package payload

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestAnyPieceOfAStreamIsRecognized(t *testing.T) {
	for _, offset := range []uint64{0, 1, 15, 16, 17, 1 << 32, 1<<32 - 9, MaxOffset - 16, MaxOffset - 7} {
		for _, length := range []int{MinVerify, 32, 33, 64, 79, 80, 95, 1448, 65375} {
			for shift := range uint64(BlockSize) {
				want := Position{Stream: uint16(length), Offset: (offset + shift) % MaxOffset}
				segment := make([]byte, length)
				Fill(segment, want)
				got, err := Verify(segment)
				if err != nil || got != want {
					t.Fatalf("%d bytes at %v: found at %v, %v", length, want, got, err)
				}
			}
		}
	}
}

func TestFillWritesTheSameStreamInPiecesOfAnyLength(t *testing.T) {
	whole := make([]byte, 4096)
	Fill(whole, Position{Stream: 7})
	for length := 1; length < 40; length++ {
		piece := make([]byte, length)
		for offset := 0; offset+length <= len(whole); offset += length {
			Fill(piece, Position{Stream: 7, Offset: uint64(offset)})
			if !slices.Equal(piece, whole[offset:offset+length]) {
				t.Fatalf("bytes %d to %d differ", offset, offset+length-1)
			}
		}
	}
}

func TestShortSegmentsAreCheckedAtAGivenPosition(t *testing.T) {
	for length := range MinVerify {
		for offset := range uint64(2 * BlockSize) {
			at := Position{Stream: 3, Offset: offset}
			segment := make([]byte, length)
			Fill(segment, at)
			if err := VerifyAt(segment, at); err != nil {
				t.Fatalf("%d bytes at %v: %v", length, at, err)
			}
			if length == 0 {
				continue
			}
			segment[length-1] ^= 1
			var torn *TornError
			if err := VerifyAt(segment, at); !errors.As(err, &torn) || torn.Start != length-1 || torn.End != length {
				t.Fatalf("%d bytes at %v, the last one wrong: %v", length, at, err)
			}
		}
	}
}

func TestTornSegmentsAreDescribed(t *testing.T) {
	a, b := Position{Stream: 1, Offset: 1000}, Position{Stream: 2, Offset: 77777}
	fill := func(length int, p Position) []byte {
		segment := make([]byte, length)
		Fill(segment, p)
		return segment
	}
	tests := []struct {
		name    string
		segment func() []byte
		want    TornError
		message string
	}{
		{
			name: "a second writer overtakes in mid-packet",
			segment: func() []byte {
				s := fill(65375, a)
				Fill(s[30000:], b.add(30000))
				return s
			},
			// The second run's first whole block begins at byte 30015.
			want:    TornError{Want: a, Start: 30000, End: 65375, Found: b.add(30015), FoundAt: 30015},
			message: "payload: bytes 30000 to 65374 are not those of stream 1 offset 31000: stream 2 offset 107792 begins at byte 30015",
		},
		{
			name: "a slow writer leaves a stale piece in the middle",
			segment: func() []byte {
				s := fill(65375, a)
				Fill(s[16384:20480], b)
				return s
			},
			want: TornError{Want: a, Start: 16384, End: 20480, Found: b.add(15), FoundAt: 16399},
		},
		{
			name: "the tail is an older piece of the same stream",
			segment: func() []byte {
				s := fill(4096, a.add(65536))
				Fill(s[4000:], a.add(4000))
				return s
			},
			// The last block is cut where only its second byte differs.
			want: TornError{Want: a.add(65536), Start: 4000, End: 4090, Found: a.add(4008), FoundAt: 4008},
		},
		{
			name: "a byte is missing",
			segment: func() []byte {
				s := fill(4097, a)
				return slices.Delete(s, 2000, 2001)
			},
			want: TornError{Want: a, Start: 2000, End: 4096, Found: a.add(2008), FoundAt: 2007},
		},
		{
			name: "a single bit is wrong",
			segment: func() []byte {
				s := fill(4096, a)
				s[100] ^= 0x10
				return s
			},
			want:    TornError{Want: a, Start: 100, End: 101, FoundAt: -1},
			message: "payload: bytes 100 to 100 are not those of stream 1 offset 1100, nor of any stream",
		},
		{
			name: "the beginning is not of any stream",
			segment: func() []byte {
				s := fill(4096, a)
				clear(s[:66])
				return s
			},
			want: TornError{Want: a, Start: 0, End: 66, FoundAt: -1},
		},
		{
			name: "what precedes the stream's first byte",
			segment: func() []byte {
				return append([]byte{1, 2, 3, 4}, fill(100, Position{Stream: 9})...)
			},
			want: TornError{Want: Position{Stream: 9, Offset: MaxOffset - 4}, Start: 0, End: 4, FoundAt: -1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Verify(tt.segment())
			var torn *TornError
			if !errors.As(err, &torn) {
				t.Fatalf("error %v, want a TornError", err)
			}
			if *torn != tt.want {
				t.Errorf("got  %+v\nwant %+v", *torn, tt.want)
			}
			if tt.message != "" && torn.Error() != tt.message {
				t.Errorf("message %q\nwant    %q", torn, tt.message)
			}
		})
	}
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		p := Position{Stream: uint16(r.Uint32()), Offset: r.Uint64N(MaxOffset)}
		segment := make([]byte, 3*BlockSize+r.IntN(2000))
		Fill(segment, p)
		i := r.IntN(len(segment))
		segment[i] ^= byte(1 + r.IntN(255))
		var torn *TornError
		if _, err := Verify(segment); !errors.As(err, &torn) || torn.Want != p || torn.Start != i || torn.End != i+1 {
			t.Fatalf("byte %d of %d at %v changed: %v", i, len(segment), p, err)
		}
	}
}

func TestForeignBytesHoldNoBlock(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	for name, b := range map[string][]byte{
		"nothing": nil,
		"zeros":   make([]byte, 65536),
		"noise":   noise,
		"text":    []byte(strings.Repeat("GET / HTTP/1.1\r\n", 100)),
	} {
		if _, err := Verify(b); err != ErrNoBlock {
			t.Errorf("%s: %v, want ErrNoBlock", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	segment := make([]byte, 100)
	Fill(segment, Position{Stream: 5, Offset: 33})
	f.Add(segment, uint16(5), uint64(33))
	f.Add(append(segment[:50:50], segment[40:]...), uint16(5), uint64(33))
	f.Add([]byte{}, uint16(0), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, stream uint16, offset uint64) {
		at := Position{Stream: stream, Offset: offset % MaxOffset}
		want := make([]byte, len(b))
		Fill(want, at)
		err := VerifyAt(b, at)
		if (err == nil) != slices.Equal(b, want) {
			t.Fatalf("VerifyAt: %v, but the bytes being those of %v is %v", err, at, slices.Equal(b, want))
		}
		var torn *TornError
		if errors.As(err, &torn) {
			_ = torn.Error()
			if torn.Start < 0 || torn.Start >= torn.End || torn.End > len(b) || torn.FoundAt >= torn.End ||
				!slices.Equal(b[:torn.Start], want[:torn.Start]) || b[torn.Start] == want[torn.Start] || b[torn.End-1] == want[torn.End-1] {
				t.Fatalf("%+v does not describe %x", torn, b)
			}
		}
		if p, err := Verify(b); err == nil {
			Fill(want, p)
			if !slices.Equal(b, want) {
				t.Fatalf("%x passes as %v", b, p)
			}
		}
	})
}

func BenchmarkPayload(b *testing.B) {
	segment := make([]byte, 65375)
	at := Position{Stream: 1, Offset: 7}
	b.Run("fill", func(b *testing.B) {
		b.SetBytes(int64(len(segment)))
		for b.Loop() {
			Fill(segment, at)
		}
	})
	for _, length := range []int{len(segment), 1448} {
		b.Run(fmt.Sprintf("verify %d bytes", length), func(b *testing.B) {
			b.SetBytes(int64(length))
			for b.Loop() {
				if _, err := Verify(segment[:length]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
