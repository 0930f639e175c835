// Package payload generates and verifies self-describing stream content.
//
// A stream is a run of 16-byte blocks. The first word of a block says which
// stream it belongs to and which block of it this is; the second is a keyed mix
// of the first. [Fill] writes any range of a stream; [Verify] identifies any
// piece of one, at any alignment.
//
// The one invariant: two different positions never have the same block, so a segment that two
// writers wrote, that is shifted by a byte or that has a stale tail is never accepted.
// [TornError] has the range of the wrong bytes and the position that they belong to.
package payload
