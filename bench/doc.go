// Package bench measures rxring beside its peers, in one process and in turn.
//
// A cell of a table is a contender in one situation: a packet size, a number
// of writers, a filter. A sample opens the cell afresh, warms it with one lap
// around its ring, runs it for a fixed time, checks that its counts add up,
// and closes it. A round takes one sample of every cell (A B C A B C ...), so
// that a machine that slows down slows everybody down; a cell's figure is its
// median over the rounds.
//
// The one invariant: no figure without packets. A contender reports what its
// far end got, not what it was handed, and a sample whose counts do not add up
// is an error.
//
// It is a module of its own, so that the peers' dependencies stay out of
// rxring's, and it runs on Linux only, as some of the peers do.
package bench
