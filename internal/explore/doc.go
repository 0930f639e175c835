// Package explore runs concurrent code through every interleaving of its steps,
// at small scope, and checks each. It is empty without the build tag explore.
//
// The parties (writers, a reader, a timer) are the functions that ship, run as
// coroutines: [Word], [Lock] and the accessors of package slots hand control to
// the scheduler before each step on memory that another party may touch. What
// runs between two steps touches nothing shared.
//
// [Search] is a depth-first search. It runs each schedule from the start, and
// ends it at a state that it has seen: the same memory, and every party at the
// same place having read the same values.
//
// [Simulate] runs one interleaving, in the order of simulated time.
package explore
