package cbpf

import (
	"encoding/binary"
	"errors"
	"strings"
	"syscall"
	"testing"
)

// attrs is a packet of n attributes without values, of type 1 but for the last, which is of
// type 2.
func attrs(n int) *Packet {
	var b []byte
	for i := range n {
		typ := uint16(1)
		if i == n-1 {
			typ = 2
		}
		b = binary.NativeEndian.AppendUint16(b, nlaHeader)
		b = binary.NativeEndian.AppendUint16(b, typ)
	}
	return &Packet{Data: b, Len: uint32(len(b))}
}

// findType is a program that returns where the first attribute of type 2 is.
var findType = []Instruction{
	{Op: classLD | modeIMM},
	{Op: classLDX | modeIMM, K: 2},
	{Op: classLD | sizeW | modeABS, K: AdOff + adNlattr},
	{Op: classRET | retA},
}

// repeated is n loads of one kind, and an end.
func repeated(load Instruction, n int) (prog []Instruction) {
	for range n {
		prog = append(prog, load)
	}
	return append(prog, Instruction{Op: classRET, K: 1})
}

func TestABoundedFilterLooksAtSoManyAttributes(t *testing.T) {
	for _, n := range []int{1, 2, maxAttrs - 1, maxAttrs, maxAttrs + 1, 16000} {
		p := attrs(n)
		at := uint32(n-1) * nlaHeader
		all, err := Compile(findType)
		if err != nil {
			t.Fatal(err)
		}
		if got := all.Run(p); got != at {
			t.Errorf("%d attributes: found at %d, want %d", n, got, at)
		}
		some, err := CompileBounded(findType)
		if err != nil {
			t.Fatal(err)
		}
		if n > maxAttrs {
			at = 0
		}
		if got := some.Run(p); got != at {
			t.Errorf("%d attributes, bounded: found at %d, want %d", n, got, at)
		}
	}
}

func TestABoundedProgramHasFewWalks(t *testing.T) {
	for _, ad := range []uint32{adNlattr, adNlattrNest, adPayOffset} {
		load := Instruction{Op: classLD | sizeW | modeABS, K: AdOff + ad}
		for n := range 7 {
			prog := repeated(load, n)
			if got := Walks(prog); got != n {
				t.Errorf("load %d: %d walks, want %d", ad, got, n)
			}
			if _, err := Compile(prog); err != nil {
				t.Errorf("load %d, %d times: %v", ad, n, err)
			}
			_, err := CompileBounded(prog)
			if n <= MaxWalks {
				if err != nil {
					t.Errorf("load %d, %d times, bounded: %v", ad, n, err)
				}
				continue
			}
			fault := new(CheckError)
			if !errors.Is(err, syscall.EINVAL) || !errors.As(err, &fault) || fault.Index != MaxWalks || !strings.Contains(err.Error(), "want at most 4") {
				t.Errorf("load %d, %d times, bounded: %v, want EINVAL for instruction %d", ad, n, err, MaxWalks)
			}
		}
	}
	if _, err := CompileBounded(repeated(Instruction{Op: classLD | sizeW | modeABS, K: AdOff + AdProtocol}, maxInstructions-1)); err != nil {
		t.Errorf("other loads are not bounded: %v", err)
	}
	if _, err := CompileBounded(nil); err == nil {
		t.Error("a bounded program is not checked as others are")
	}
}

// BenchmarkWalks is the most that one packet can cost a filter.
func BenchmarkWalks(b *testing.B) {
	long, short := attrs(16384), attrs(378)
	for _, c := range []struct {
		name    string
		p       *Packet
		compile func([]Instruction) (*Filter, error)
		prog    []Instruction
	}{
		{"attribute-1514", short, Compile, findType},
		{"attribute-65536", long, Compile, findType},
		{"bounded-65536", long, CompileBounded, findType},
	} {
		b.Run(c.name, func(b *testing.B) {
			f, err := c.compile(c.prog)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				f.Run(c.p)
			}
		})
	}
}
