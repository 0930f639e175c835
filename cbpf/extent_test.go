package cbpf

import (
	"math/rand/v2"
	"testing"
)

func TestExtent(t *testing.T) {
	accept := Instruction{Op: OpRetK, K: 0xffff}
	for what, c := range map[string]struct {
		prog []Instruction
		n    int
		ok   bool
	}{
		"nothing":               {[]Instruction{accept}, 0, true},
		"the length":            {[]Instruction{{Op: classLD | modeLEN}, accept}, 0, true},
		"the type":              {[]Instruction{{Op: OpLdAbsH, K: 12}, accept}, 14, true},
		"a word":                {[]Instruction{{Op: OpLdAbsH, K: 12}, {Op: OpLdAbsW, K: 26}, accept}, 30, true},
		"a port behind IPv4":    {[]Instruction{{Op: classLDX | sizeB | modeMSH, K: 14}, {Op: classLD | sizeH | modeIND, K: 16}, accept}, 16 + 60 + 2, true},
		"a header's length":     {[]Instruction{{Op: classLDX | sizeB | modeMSH, K: 14}, accept}, 15, true},
		"ancillary data":        {[]Instruction{{Op: OpLdAbsW, K: AdOff + AdPktType}, accept}, 0, true},
		"a computed offset":     {[]Instruction{{Op: OpLdAbsH, K: 12}, {Op: classMISC | miscTAX}, {Op: classLD | sizeB | modeIND}, accept}, 0, false},
		"the length as offset":  {[]Instruction{{Op: classLDX | modeLEN}, {Op: classLD | sizeB | modeIND}, accept}, 0, false},
		"the network header":    {[]Instruction{{Op: OpLdAbsW, K: NetOff}, accept}, 0, false},
		"the payload's offset":  {[]Instruction{{Op: OpLdAbsW, K: AdOff + adPayOffset}, accept}, 0, false},
		"X that no load reads":  {[]Instruction{{Op: classMISC | miscTAX}, {Op: OpLdAbsW}, accept}, 4, true},
		"X that was never set":  {[]Instruction{{Op: classLD | sizeB | modeIND, K: 3}, accept}, 64, true},
		"an offset that is far": {[]Instruction{{Op: OpLdAbsW, K: 1 << 21}, accept}, 0, false},
	} {
		if n, ok := Extent(c.prog); n != c.n || ok != c.ok {
			t.Errorf("%s: %d, %v: want %d, %v", what, n, ok, c.n, c.ok)
		}
	}
}

// A packet that is truncated to a program's extent has the program's result of the whole packet.
func TestTruncatedToTheExtent(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	known := 0
	for range 20000 {
		prog := randomLoads(rnd)
		n, ok := Extent(prog)
		if !ok {
			continue
		}
		known++
		f, err := Compile(prog)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, 1+rnd.IntN(200))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		whole, cut := Packet{Data: data, Len: uint32(len(data))}, Packet{Data: data[:min(n, len(data))], Len: uint32(len(data))}
		if a, b := f.Run(&whole), f.Run(&cut); a != b {
			t.Fatalf("%v: %d of %d bytes, %d of the first %d", prog, a, len(data), b, n)
		}
	}
	if known < 1000 {
		t.Errorf("%d programs with a known extent", known)
	}
}

// randomLoads returns a program that mixes what its loads return.
func randomLoads(rnd *rand.Rand) (prog []Instruction) {
	loads := []uint16{OpLdAbsW, OpLdAbsH, classLD | sizeB | modeABS, classLD | sizeW | modeIND, classLD | sizeH | modeIND, classLD | sizeB | modeIND, classLDX | sizeB | modeMSH, classLD | modeLEN}
	for range 1 + rnd.IntN(6) {
		prog = append(prog, Instruction{Op: loads[rnd.IntN(len(loads))], K: rnd.Uint32N(90)})
		if rnd.IntN(2) == 0 {
			prog = append(prog, Instruction{Op: OpJEQ, K: rnd.Uint32N(8), Jf: 1}, Instruction{Op: OpRetA})
		}
		if rnd.IntN(20) == 0 {
			prog = append(prog, Instruction{Op: classMISC | miscTAX})
		}
	}
	for i := range prog {
		if prog[i].Op == classLD|modeLEN {
			prog[i].K = 0
		}
	}
	return append(prog, Instruction{Op: OpRetA})
}
