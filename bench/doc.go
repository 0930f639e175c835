// Package bench measures rxring and its peers, in turn and in one process.
//
// A cell of a table is a contender in one situation: a packet size, a number
// of writers, a filter. A sample opens the cell afresh, warms it with one lap
// around its ring, runs it for a fixed time, checks that its counts add up,
// and closes it. A round takes one sample of every cell (A B C A B C ...), so
// that a slower machine slows all of them; a cell's figure is its median over
// the rounds.
//
// The one invariant: no figure without packets. A contender reports the packets
// that its far end received, not those it was given, and a sample whose counts
// do not add up is an error.
//
// It is a module of its own, so that the peers' dependencies stay out of
// rxring's, and it runs on Linux only, as some of the peers do.
package bench
