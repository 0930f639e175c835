//go:build !explore

package slots

import (
	"sync"
	"sync/atomic"
	"time"
)

// The words and locks that writers share among themselves. Under the build tag
// explore each method is a step of package explore's scheduler: see
// steps_explore.go.
type (
	Word = atomic.Uint64
	Lock = sync.Mutex
)

// Exploring is false in what ships: the compiler removes the steps.
const Exploring = false

// StepLoad and StepStore are steps on a word of a slot.
func StepLoad(*Slots, Field, uint32)  {}
func StepStore(Field, uint32, uint32) {}
func stepPublish(uint32, uint32)      {}
func stepBlockLoad(*Blocks, uint32)   {}
func stepBlockStore(uint32, uint32)   {}

// LoadOwn loads a word that no other writer stores to meanwhile.
func LoadOwn(w *Word) uint64 { return w.Load() }

// Again marks the top of a loop that keeps nothing of the round before but its
// number: the scheduler treats all rounds alike.
func Again(int) {}

// WaitBound is how often a writer reloads the state of a slot whose owner is
// between its release stores: some microseconds, a thousand times what those
// take.
const WaitBound = 1000

// Pause is called between two such loads.
func Pause() {}

// Now stamps blocks.
func Now() time.Time { return time.Now() }
