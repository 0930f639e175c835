package cbpf

import "testing"

func TestSmoke(t *testing.T) {
	f, err := Compile([]Instruction{{Op: 0x28, K: 12}, {Op: 0x15, Jt: 0, Jf: 1, K: 0x800}, {Op: 6, K: 9}, {Op: 6}})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Run(&Packet{Data: []byte{12: 8, 13: 0}, Len: 14}); got != 9 {
		t.Fatal(got)
	}
}
