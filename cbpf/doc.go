// Package cbpf runs classic BPF socket filters as Linux does: it accepts and
// refuses the same programs, and gives the same verdict on the same packet,
// with the ancillary loads (SKF_AD_*) that libpcap's filters use on Linux.
//
// The one invariant: a [Filter] has passed the check, so it ends. Every jump
// goes forward to an instruction of the program, the last instruction returns,
// and no scratch word is read before it is written.
//
// A program goes through two steps. [Compile] checks it (check.go) and lowers it
// to a graph of private steps, in which a load and the comparisons after it are
// one (lower.go). [Filter.Run] walks that graph in one loop that calls nothing
// and looks at the packet's first piece only (run.go). Where that does not do,
// interpret.go goes on, from the instruction reached: it can do everything, by
// the book, with packet.go for bytes anywhere in the packet and ancillary.go and
// payload.go for what Linux knows beside them.
package cbpf
