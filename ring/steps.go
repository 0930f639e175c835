//go:build !explore

package ring

import (
	"sync"
	"sync/atomic"
	"time"
)

// The words and locks that writers share among themselves. Under the build tag
// explore they are others, with the same methods, that let a scheduler decide
// before each step who goes next: see steps_explore.go.
type (
	word = atomic.Uint64
	lock = sync.Mutex
)

// exploring is what compiles the steps on shared memory out.
const exploring = false

func stepLoad(*Ring, stepKind, uint32)          {}
func stepStore(*Ring, stepKind, uint32, uint32) {}
func stepBlockLoad(*Blocks, uint32)             {}
func stepBlockStore(*Blocks, uint32, uint32)    {}

// loadOwn loads a word that nobody but the caller stores to meanwhile.
func loadOwn(w *word) uint64 { return w.Load() }

// again marks the top of a loop that keeps nothing of the round before but its
// count: to the scheduler, rounds are alike.
func again(int) {}

// waitBound is how often a writer looks again at a slot whose owner is between
// its release stores: some microseconds, a thousand times what those take.
const waitBound = 1000

// pause is between two such looks.
func pause() {}

// now is what blocks are stamped with.
func now() time.Time { return time.Now() }
