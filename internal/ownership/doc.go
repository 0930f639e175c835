// Package ownership holds the ways for a ring's writers to own slots that are
// studied, beside the one that ships ([Ticket], in package writer). Linux commit
// 61fad6816fc1, which fixed the ring, weighs most of them; docs/ownership.md follows
// its argument. rxring race, make explore and the benchmarks run them.
//
// A [Ring] of any design has the methods and the memory of the ring that ships.
package ownership
