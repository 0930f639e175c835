package cbpf

import (
	"encoding/binary"
	"slices"
)

// SizeofInstruction is sizeof(struct sock_filter), in bytes.
const SizeofInstruction = 8

// AppendBytes appends prog to b as an array of struct sock_filter, in the machine's byte
// order.
func AppendBytes(b []byte, prog []Instruction) []byte {
	b = slices.Grow(b, len(prog)*SizeofInstruction)
	for _, in := range prog {
		b = binary.NativeEndian.AppendUint16(b, in.Op)
		b = append(b, in.Jt, in.Jf)
		b = binary.NativeEndian.AppendUint32(b, in.K)
	}
	return b
}

// ParseBytes reads an array of struct sock_filter. It ignores an incomplete last
// instruction.
func ParseBytes(b []byte) (prog []Instruction) {
	prog = slices.Grow(prog, len(b)/SizeofInstruction)
	for ; len(b) >= SizeofInstruction; b = b[SizeofInstruction:] {
		prog = append(prog, Instruction{
			Op: binary.NativeEndian.Uint16(b),
			Jt: b[2],
			Jf: b[3],
			K:  binary.NativeEndian.Uint32(b[4:]),
		})
	}
	return prog
}

// From converts instructions of another package that has the same struct, such as
// golang.org/x/net/bpf's RawInstruction.
func From[Raw ~struct {
	Op     uint16
	Jt, Jf uint8
	K      uint32
}](raw []Raw) []Instruction {
	prog := make([]Instruction, len(raw))
	for i, in := range raw {
		prog[i] = Instruction(in)
	}
	return prog
}
