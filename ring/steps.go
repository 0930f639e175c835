//go:build !explore

package ring

import (
	"sync"
	"sync/atomic"
)

// The words and locks that writers share among themselves. Under the build tag
// explore they are others with the same methods, which let a scheduler decide
// who goes next before each step; see steps_explore.go.
type (
	word = atomic.Uint64
	lock = sync.Mutex
)

const exploring = false

// step marks a step on the memory that writers and the reader share.
func step(op, uint32, uint32) {}

// waitBound is how often a writer looks again at a slot whose owner is between
// its two release stores.
const waitBound = 1000

// pause is between two such looks.
func pause() {}
