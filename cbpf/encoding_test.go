package cbpf

import (
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

func TestInstructionsSurviveEncoding(t *testing.T) {
	prog := []Instruction{{Op: OpLdAbsW, K: AdOff}, {Op: OpJEQ, Jt: 1, Jf: 2, K: 3}, {Op: OpRetA}}
	b := AppendBytes([]byte{9}, prog)
	if len(b) != 1+len(prog)*SizeofInstruction || b[0] != 9 {
		t.Fatalf("% x", b)
	}
	if got := ParseBytes(append(b[1:], 1, 2, 3)); !slices.Equal(got, prog) {
		t.Errorf("parsed %v: want %v", got, prog)
	}
	if got := ParseBytes(nil); len(got) != 0 {
		t.Errorf("no bytes parsed as %v", got)
	}
}

func TestFromRawInstructions(t *testing.T) {
	raw, err := bpf.Assemble([]bpf.Instruction{bpf.LoadAbsolute{Off: 12, Size: 2}, bpf.JumpIf{Val: 0x800, SkipTrue: 1}, bpf.RetA{}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := From(raw), []Instruction{{Op: 0x28, K: 12}, {Op: OpJEQ, K: 0x800, Jt: 1}, {Op: OpRetA}}; !slices.Equal(got, want) {
		t.Errorf("%v: want %v", got, want)
	}
}
