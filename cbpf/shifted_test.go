package cbpf

import (
	"math"
	"math/rand/v2"
	"testing"
)

// shifts are the two kinds of n that Shifted has, for a SOCK_DGRAM socket's program that is run
// from the link-layer header on.
var shifts = []uint32{14, NetOff}

// shiftedAgrees compares a program with the shifted one on one packet. It reports false if there
// is no shifted program.
func shiftedAgrees(t *testing.T, prog []Instruction, dgram *Packet, n uint32) bool {
	t.Helper()
	const more = 20
	shifted, ok := Shifted(prog, n, more)
	if !ok {
		return false
	}
	raw := *dgram
	raw.Start = 0
	want, got := mustCompile(t, prog).Run(dgram), mustCompile(t, shifted).Run(&raw)
	computed := false
	for _, in := range prog {
		computed = computed || in.Op == OpRetA
	}
	if (got == 0) != (want == 0) || want > 0 && !computed && got != want+min(more, math.MaxUint32-want) || got < want {
		t.Fatalf("shifted by %#x: keeps %d, want %d and %d more, of\n%x\n%v\n%v", n, got, want, more, dgram.Data, listing(prog), listing(shifted))
	}
	return true
}

func TestShiftedProgramsAcceptTheSame(t *testing.T) {
	accepted := map[uint32]int{}
	for seed := range uint64(20000) {
		c := random(seed)
		ancillary := repeatable
		if c(2) == 0 {
			ancillary = []uint32{AdProtocol, AdPktType, adAluXorX}
		}
		prog := c.validProgram(false, ancillary)
		for i := range prog { // loads relative to headers, too
			if in := &prog[i]; in.LoadsPacket() && in.K < 1<<16 && c(4) == 0 {
				in.K += []uint32{NetOff, LLOff}[c(2)]
			}
		}
		p := withFields(c.packet())
		if len(p.Data) < 14 {
			continue
		}
		for _, n := range shifts {
			if shiftedAgrees(t, prog, c.scatter(p, 14), n) {
				accepted[n]++
			}
		}
	}
	if accepted[14] < 5000 || accepted[NetOff] < 2000 {
		t.Errorf("%v random programs are shifted", accepted)
	}
}

// Each filter of tcpdump -i any can be shifted, and few instructions are added.
func TestShiftedFiltersOfLibpcap(t *testing.T) {
	packets := traffic(rand.New(rand.NewPCG(5, 7)), 200)
	for _, c := range corpus(t) {
		if c.file != "live_any.txt" {
			continue
		}
		if _, err := Compile(c.prog); err != nil {
			continue
		}
		for _, n := range shifts {
			shifted, ok := Shifted(c.prog, n, 14)
			if n == 14 && !ok && Walks(c.prog) == 0 || len(shifted) > len(c.prog)*3/2+6 {
				t.Errorf("%v: shifted by %#x: %v, %d instructions of %d", c, n, ok, len(shifted), len(c.prog))
			}
		}
		for _, data := range packets {
			if len(data) < 14 {
				continue
			}
			p := withFields(data)
			p.Protocol, p.VLANPresent = uint16(data[12])<<8|uint16(data[13]), false
			for _, n := range shifts {
				shiftedAgrees(t, c.prog, p, n)
			}
		}
	}
}

func TestProgramsThatAreNotShifted(t *testing.T) {
	x := func(load Instruction) []Instruction {
		return []Instruction{{Op: classLD | modeLEN}, {Op: classMISC | miscTAX}, load, {Op: OpRetK, K: 1}}
	}
	far := make([]Instruction, 0, 300)
	far = append(far, Instruction{Op: OpJEQ, Jt: 255})
	for range 256 { // each gets longer
		far = append(far, Instruction{Op: classLD | modeLEN})
	}
	far = append(far, Instruction{Op: OpRetK, K: 1})
	for what, c := range map[string]struct {
		prog        []Instruction
		ether, link bool // shifted by 14, by NetOff
	}{
		"the length":                    {[]Instruction{{Op: classLD | modeLEN}, {Op: OpRetK, K: 1}}, true, false},
		"the length in X":               {[]Instruction{{Op: classLDX | modeLEN}, {Op: OpRetK, K: 1}}, false, false},
		"a place that is computed":      {x(ld(modeIND, sizeW, 0)), true, false},
		"a place behind a short header": {[]Instruction{{Op: classLDX | modeMSH | sizeB}, ld(modeIND, sizeW, 0), {Op: OpRetK, K: 1}}, true, true},
		"the payload":                   {[]Instruction{ld(modeABS, sizeW, AdOff+adPayOffset), {Op: OpRetK, K: 1}}, false, false},
		"a place beyond 1 MiB":          {[]Instruction{ld(modeABS, sizeW, 1<<20), {Op: OpRetK, K: 1}}, true, false},
		"a jump that gets too far":      {far, false, false},
	} {
		mustCompile(t, c.prog)
		_, ether := Shifted(c.prog, 14, 14)
		_, link := Shifted(c.prog, NetOff, 14)
		if ether != c.ether || link != c.link {
			t.Errorf("%s: shifted by 14: %v, by NetOff: %v; want %v, %v", what, ether, link, c.ether, c.link)
		}
	}
}

// FuzzShifted: any program that Linux accepts is shifted, or is said not to be.
func FuzzShifted(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(AppendBytes(nil, random(seed).validProgram(false, repeatable)), make([]byte, 80))
	}
	f.Add(AppendBytes(nil, libpcap(f, "live_any.txt", "inbound and tcp port 80")), ethernet(0x800, ipv4(6, tcp(1, 80, nil))))
	f.Fuzz(func(t *testing.T, program, packet []byte) {
		prog := ParseBytes(program)
		if _, err := Compile(prog); err != nil || len(packet) < 14 {
			return
		}
		for _, in := range prog {
			if ad, ok := in.Ancillary(); ok && ad == adRandom {
				return
			}
		}
		for _, n := range shifts {
			shiftedAgrees(t, prog, withFields(packet), n)
		}
	})
}
