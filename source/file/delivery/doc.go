// Package delivery is what the sources of captured packets share: it delivers packets in
// batches, and waits for readers.
//
// The one invariant: packets are delivered in the order in which they were added.
package delivery
