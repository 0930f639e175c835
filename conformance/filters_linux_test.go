package conformance

import (
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/rxring/rxring/cbpf"
)

// Ancillary data, by its distance from SKF_AD_OFF (linux/filter.h).
const (
	skfAdProtocol       = 0
	skfAdPktType        = 4
	skfAdIfindex        = 8
	skfAdHatype         = 28
	skfAdVLANTag        = 44
	skfAdVLANTagPresent = 48
	skfAdPayOffset      = 52
	skfAdVLANTPID       = 60
)

// drawAttach draws a short filter. What filters compute is package cbpf's to
// test; here it matters where they start to read, what surrounds the packet,
// and what becomes of their verdict.
func drawAttach(t *rapid.T, s int) op {
	verdict := uint32(rapid.SampledFrom([]int{0, 1, 13, 14, 40, 100, 0xffff, 1<<32 - 1}).Draw(t, "verdict"))
	ret := func(k uint32) program { return program{{Op: unix.BPF_RET | unix.BPF_K, K: k}} }
	load := func(op int, k uint32) program {
		op |= unix.BPF_LD
		return program{
			{Op: uint16(op), K: k},
			{Op: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: uint32(rapid.SampledFrom([]int{0, 1, 4, 0x800, tapIndex, 0x45, 60, 100}).Draw(t, "compare with"))},
			{Op: unix.BPF_RET | unix.BPF_K, K: verdict},
			{Op: unix.BPF_RET | unix.BPF_K, K: verdict ^ 40},
		}
	}
	switch rapid.IntRange(0, 6).Draw(t, "filter") {
	case 1:
		return attach{s, load(unix.BPF_W|unix.BPF_LEN, 0)}
	case 2:
		return attach{s, load(unix.BPF_H|unix.BPF_ABS, uint32(rapid.SampledFrom([]int{0, 12, 13, 14, 59, 60, 8999}).Draw(t, "at")))}
	case 3: // from the network header, from the link-layer header
		base := rapid.SampledFrom([]int64{cbpf.NetOff, cbpf.LLOff}).Draw(t, "base")
		at := rapid.SampledFrom([]int64{0, 1, 12, 14}).Draw(t, "at")
		return attach{s, load(unix.BPF_B|unix.BPF_ABS, uint32(base+at))}
	case 4:
		ad := rapid.SampledFrom([]int64{
			skfAdProtocol, skfAdPktType, skfAdIfindex, skfAdHatype,
			skfAdVLANTag, skfAdVLANTagPresent, skfAdVLANTPID, skfAdPayOffset,
		}).Draw(t, "ancillary")
		return attach{s, load(unix.BPF_W|unix.BPF_ABS, uint32(cbpf.AdOff+ad))}
	case 5: // A is the verdict
		return attach{s, program{{Op: unix.BPF_LD | unix.BPF_W | unix.BPF_LEN}, {Op: unix.BPF_RET | unix.BPF_A}}}
	case 6:
		return attach{s, rapid.SampledFrom([]program{
			{},
			{{Op: unix.BPF_LD | unix.BPF_W | unix.BPF_LEN}}, // no verdict at the end
			{{Op: 0xffff}, ret(0)[0]},
			{{Op: unix.BPF_JMP | unix.BPF_JA, K: 1}, ret(0)[0]},
			{{Op: unix.BPF_ALU | unix.BPF_DIV | unix.BPF_K}, ret(0)[0]},
			make(program, 4097),
		}).Draw(t, "bad")}
	}
	return attach{s, ret(verdict)}
}

// drawFanoutProgram draws a program that chooses a member of a fanout group: by
// a constant, or by something in the packet.
func drawFanoutProgram(t *rapid.T, s int) op {
	at := uint32(rapid.SampledFrom([]int64{0, 2, 14, 16, cbpf.NetOff + 3, cbpf.LLOff + 16, cbpf.AdOff + skfAdPktType, cbpf.AdOff + skfAdProtocol}).Draw(t, "at"))
	return rapid.SampledFrom([]op{
		fanoutProgram{s, program{{Op: unix.BPF_RET | unix.BPF_K, K: 1}}},
		fanoutProgram{s, program{{Op: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: at}, {Op: unix.BPF_RET | unix.BPF_A}}},
		fanoutProgram{s, program{{Op: unix.BPF_LD | unix.BPF_W | unix.BPF_LEN}, {Op: unix.BPF_RET | unix.BPF_A}}},
		fanoutProgram{s, program{}},
		fanoutProgram{s, program{{Op: 0xffff}}},
	}).Draw(t, "program")
}
