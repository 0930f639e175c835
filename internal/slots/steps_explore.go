//go:build explore

package slots

import (
	"fmt"
	"time"

	"github.com/rxring/rxring/internal/explore"
	"github.com/rxring/rxring/tpacket"
)

type (
	Word = explore.Word
	Lock = explore.Lock
)

const Exploring = true

// WaitBound is small: each load is a step, and one load that finds nothing new
// stands for a thousand.
const WaitBound = 1

// LoadOwn is no step: no other party can change what it loads.
func LoadOwn(w *Word) uint64 { return w.LoadOwn() }

// PublishWord stores v to w with release order.
func PublishWord(w *Word, v uint64) { w.Publish(v) }

func Again(round int) { explore.Again(round) }

// Pause is a step, so that the party waited for can run.
func Pause() { explore.Pause() }

// Now stands still: time is no part of the state.
func Now() time.Time { return time.Time{} }

// OnStore, when set, is called for each store to a status word as it happens.
var OnStore func(slot, status uint32)

func StepLoad(s *Slots, f Field, slot uint32) {
	if !explore.Running() {
		return
	}
	explore.Take(explore.Step{What: "loads the %v of slot %d", Op: explore.Load, Args: [2]any{f, slot}})
	h := s.Frame(slot)
	explore.Observe(uint64(h[0]) | uint64(h[2])<<8 | uint64(h[28])<<16) // status bits 0 to 7 and 16 to 23, mark
}

func StepStore(f Field, slot, v uint32) { stepStore(explore.Store, f, slot, v) }

func stepPublish(slot, status uint32) { stepStore(explore.Publish, StatusWord, slot, status) }

func stepStore(op explore.Op, f Field, slot, v uint32) {
	if !explore.Running() {
		return
	}
	explore.Take(explore.Step{What: "stores %v to slot %d", Op: op, Args: [2]any{Stored{f, v}, slot}})
	if f == StatusWord && OnStore != nil {
		OnStore(slot, v)
	}
}

func stepBlockLoad(b *Blocks, block uint32) {
	if !explore.Running() {
		return
	}
	explore.Take(explore.Step{What: "loads the status of block %d", Args: [2]any{block}})
	explore.Observe(uint64(b.Desc(block).Status))
}

func stepBlockStore(block, status uint32) {
	if !explore.Running() {
		return
	}
	explore.Take(explore.Step{What: "stores %v to block %d", Args: [2]any{Stored{StatusWord, status}, block}})
	if OnStore != nil {
		OnStore(block, status)
	}
}

func (f Field) String() string {
	if f == MarkWord {
		return "mark"
	}
	return "status"
}

// Stored is a value stored to shared memory, for traces.
type Stored struct {
	Field Field
	Value uint32
}

// StatusNames are the names of status values in traces.
var StatusNames = map[uint32]string{tpacket.StatusKernel: "KERNEL", tpacket.StatusUser: "USER"}

func (s Stored) String() string {
	if name, ok := StatusNames[s.Value]; ok && s.Field == StatusWord {
		return name
	}
	return fmt.Sprintf("%v %#x", s.Field, s.Value)
}
