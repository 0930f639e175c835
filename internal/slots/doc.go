// Package slots is the shared memory of a ring as its writers and its reader
// address it: where a slot or a block lies, and how its status word is loaded
// and stored.
//
// The status word is the one thing in shared memory that both sides act on. A
// store of it publishes everything stored to the slot before; the load on the
// other side pairs with it.
//
// Under the build tag explore, each load and store here, and each method of
// [Word] and [Lock], is a step of package explore's scheduler.
package slots
