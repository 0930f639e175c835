package writer

import "github.com/rxring/rxring/internal/slots"

// Rounds of an empty loop, a quarter of a nanosecond each.
const (
	firstSpin   = 1 << 7  // 30 ns
	longestSpin = 1 << 15 // 8 µs
)

// backoff waits after a compare-and-swap that another writer won, before the next
// try. lost is the writer's own, and 0 before the first loss for a packet: each wait
// is twice as long as the one before.
func backoff(lost *uint32) {
	if slots.Exploring {
		return
	}
	*lost = min(max(2**lost, firstSpin), longestSpin)
	for range *lost {
	}
}
