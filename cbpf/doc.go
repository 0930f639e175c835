// Package cbpf runs classic BPF socket filters as Linux does: it accepts and
// refuses the same programs, and gives the same verdict on the same packet,
// with the ancillary loads (SKF_AD_*) that libpcap's filters use on Linux.
//
// The one invariant: a [Filter] has passed the check, so it ends. Every jump
// goes forward to an instruction of the program, the last instruction returns,
// and no scratch word is read before it is written.
//
// A program goes through three steps. [Compile] checks it (check.go), then
// lowers it to a private form with absolute jump targets, where a load and the
// comparison after it are one instruction (lower.go). [Filter.Run] is one loop
// over that form (run.go): it reads the first piece of the packet itself and
// leaves the rest, other pieces and loads relative to a header, to packet.go,
// and what Linux keeps beside the bytes to ancillary.go.
package cbpf
