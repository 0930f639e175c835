// Package cbpf runs classic BPF socket filters as Linux does: it accepts and
// refuses the same programs, and returns the same value for the same packet,
// with the ancillary loads (SKF_AD_*) that libpcap's filters use on Linux.
//
// The one invariant: a [Filter] has passed the check, so it ends. Every jump
// goes forward to an instruction of the program, the last instruction returns,
// and no scratch word is read before it is written.
//
// [Compile] checks a program (check.go) and lowers it to a graph of private
// steps, in which a load and the comparisons after it are one (lower.go).
// [Filter.Run] walks that graph in one loop that calls no function and reads
// only the packet's first piece (run.go). For anything else interpret.go
// continues from the instruction reached: it implements every instruction, with
// packet.go for bytes anywhere in the packet, and ancillary.go and payload.go
// for the ancillary data.
package cbpf
