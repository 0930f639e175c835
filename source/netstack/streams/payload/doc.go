// Package payload makes and checks stream content that describes itself.
//
// A stream is a run of 16-byte blocks. The first word of a block says which
// stream it belongs to and which block of it this is; the second is a keyed mix
// of the first. [Fill] writes any range of a stream, [Verify] takes any piece
// of one, at whatever alignment, and finds out which it is.
//
// The one invariant: two different positions never hold the same block, so a
// segment that two writers touched, that is shifted by a byte or that has a
// stale tail cannot pass. [TornError] says which bytes are wrong, and whose.
package payload
