package cbpf

import (
	"math"
	"math/rand/v2"
	"testing"
)

// agreesWithXNet runs one program on one packet by both machines.
func agreesWithXNet(t *testing.T, prog []Instruction, data []byte) (compared bool) {
	t.Helper()
	f := mustCompile(t, prog)
	vm, ok := xnet(prog)
	if !ok {
		return false
	}
	want, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Run(whole(data)); got != uint32(want) {
		t.Fatalf("keeps %d, x/net %d, of\n%x\n%v", got, uint32(want), data, listing(prog))
	}
	return true
}

func TestRandomProgramsAgreeWithXNet(t *testing.T) {
	var compared int
	for seed := range uint64(5000) {
		c := random(seed)
		prog := c.validProgram(true, nil)
		for range 3 {
			if agreesWithXNet(t, prog, c.packet()) {
				compared++
			}
		}
	}
	if compared < 10000 {
		t.Errorf("%d runs compared, want at least 10000", compared)
	}
}

func FuzzAgainstXNet(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		draws := make([]byte, 200)
		for i := range draws {
			draws[i] = byte(r.Uint32())
		}
		f.Add(draws, ethernet(0x800, ipv4(6, tcp(1, 80, nil))))
	}
	f.Fuzz(func(t *testing.T, draws, packet []byte) {
		agreesWithXNet(t, fromBytes(draws).validProgram(true, nil), packet)
	})
}

// sameEverywhere holds Run to interpret, on the packet whole and in pieces.
func sameEverywhere(t *testing.T, c chooser, prog []Instruction, p *Packet) {
	t.Helper()
	f := mustCompile(t, prog)
	want := interpret(prog, math.MaxInt, p, 0, 0, 0, [scratchWords]uint32{})
	if got := f.Run(p); got != want {
		t.Fatalf("Run keeps %d, interpret %d, of\n%x\n%v", got, want, p.Data, listing(prog))
	}
	q := c.scatter(p, 14)
	if got := f.Run(q); got != want {
		t.Fatalf("%d in pieces, %d whole\n%x %x\n%v", got, want, q.Data, q.Rest, listing(prog))
	}
}

// withFields sets what lies beside a packet's bytes.
func withFields(data []byte) *Packet {
	p := whole(data)
	p.Start = uint32(min(14, len(data)))
	p.NetOff = 14
	p.Protocol, p.PacketType, p.Ifindex, p.Hatype = 0x800, 4, 7, 1
	p.Mark, p.RxHash, p.Queue, p.CPU = 0xdead, 0xbeef, 3, 5
	p.VLANPresent, p.VLANTCI, p.VLANTPID = true, 0x6005, 0x8100
	return p
}

var repeatable = []uint32{
	AdProtocol, AdPktType, AdIfindex, adNlattr, adNlattrNest, adMark, adQueue, AdHatype,
	adRxHash, adCPU, adAluXorX, adVLANTag, adVLANTagPresent, adPayOffset, adVLANTPID,
}

func TestAPacketInPiecesGivesTheSameAnswerAsWhole(t *testing.T) {
	for seed := range uint64(5000) {
		c := random(seed)
		prog := c.validProgram(false, repeatable)
		for i := range prog { // loads relative to headers, too
			if in := &prog[i]; in.Op&(0x07|0xe0) == classLD|modeABS && in.K < 1<<16 && c(3) == 0 {
				in.K += []uint32{NetOff, LLOff}[c(2)]
			}
		}
		p := withFields(c.packet())
		sameEverywhere(t, c, prog, p)
	}
	packets := traffic(rand.New(rand.NewPCG(5, 6)), 50)
	c := random(7)
	for _, program := range corpus(t) {
		if _, err := Compile(program.prog); err != nil {
			continue
		}
		for _, data := range packets {
			p := whole(data)
			p.NetOff, p.Protocol, p.Ifindex = 14, 0x800, 2
			sameEverywhere(t, c, program.prog, p)
		}
	}
}

// FuzzCompile: any bytes are refused or end with a verdict, on any packet.
func FuzzCompile(f *testing.F) {
	for seed := range uint64(20) {
		prog := random(seed).validProgram(false, repeatable)
		f.Add(AppendBytes(nil, prog), []byte{1, 2, 3}, uint32(0))
	}
	f.Add(AppendBytes(nil, libpcap(f, "live_any.txt", "inbound and tcp port 80")), ipv4(6, tcp(1, 80, nil)), uint32(14))
	f.Fuzz(func(t *testing.T, program, packet []byte, start uint32) {
		prog := ParseBytes(program)
		filter, err := Compile(prog)
		if err != nil {
			_ = err.Error()
			return
		}
		p := withFields(packet)
		p.Start = start
		got := filter.Run(p)
		for _, in := range prog {
			if ad, ok := in.Ancillary(); ok && ad == adRandom {
				return
			}
		}
		if want := interpret(prog, math.MaxInt, p, 0, 0, 0, [scratchWords]uint32{}); got != want {
			t.Errorf("Run keeps %d, interpret %d\n%v", got, want, listing(prog))
		}
	})
}
