// Package scaling predicts how many packets writers on many cores get into a ring, on machines with more
// cores than the one at hand.
//
// It runs the code that ships: under the build tag explore each access to memory that writers share is a
// step, and [Simulate] makes the steps in the order of a simulated clock, which charges for each what the
// processor's caches would: little for a line in the core's own cache, and a transfer for a line that
// another core has. A line is moved to one core at a time, so cores that want the same one wait for each
// other.
//
// What a packet costs besides is one number for each path, fitted to what one writer was measured to take.
// All else is predicted.
package scaling
