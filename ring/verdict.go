package ring

import (
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
)

// Verdict is the fate of a packet at a ring: Acquired, or the reason for its drop.
type Verdict uint8

const (
	Acquired  Verdict = iota // a slot or bytes of a block are the writer's until it releases them
	Full                     // the reader has not handed back the head slot, or the queue is full
	Owned                    // the head slot is free, but a slower writer still fills it
	Releasing                // the head slot's writer is between its release stores, and does not get on
	NoRoom                   // the ring was closed or replaced meanwhile, or the headers do not fit or cannot express the offload
	Lost                     // lost before the device (rxring.Device.Lost)
	Malformed                // too short, or of a kind that the device cannot show
	Throttled                // its user's sockets used more than their share of the writers' time (rxring.Account)
	verdicts                 // the numbers are on package attach's wire: append only
)

// reasons is the one table of the reasons for a drop. Text, JSON, metrics, logs and
// package attach read it.
var reasons = [verdicts]struct{ name, text, explanation string }{
	Full:      {"ring_full", "ring full", "ring full"},
	Owned:     {"slot_owned", "slot still owned", "slot still owned by a slower writer"},
	Releasing: {"slot_releasing", "slot being released", "slot about to be released"},
	NoRoom:    {"no_room", "no room", "ring just closed, or no room for headers"},
	Lost:      {"before_device", "before the device", "lost before the device"},
	Malformed: {"malformed", "malformed", "malformed: shorter than a link-layer header, or of no type that the device has"},
	Throttled: {"throttled", "throttled", "throttled: its user's sockets took too much of the writers' time"},
}

// Reasons iterates over the verdicts that are reasons for a drop.
func Reasons(yield func(Verdict) bool) {
	for v := Acquired + 1; v < verdicts; v++ {
		if !yield(v) {
			return
		}
	}
}

// String is the verdict in two or three words.
func (v Verdict) String() string {
	switch {
	case v == Acquired:
		return "acquired"
	case v < verdicts:
		return reasons[v].text
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// Name is the reason in JSON, metrics and logs: letters and underscores.
func (v Verdict) Name() string { return reasons[v].name }

// Explanation is the reason in a few more words, for reports.
func (v Verdict) Explanation() string { return reasons[v].explanation }

// PerReason is a number for each reason for a drop, indexed by [Verdict]. That of
// Acquired is 0.
type PerReason[N uint64 | float64] [verdicts]N

// Drops counts dropped packets by reason.
type Drops = PerReason[uint64]

// Sum is the sum of all reasons' numbers.
func (p *PerReason[N]) Sum() (sum N) {
	for v := range Reasons {
		sum += p[v]
	}
	return sum
}

// All iterates over the reasons and their numbers.
func (p *PerReason[N]) All() iter.Seq2[Verdict, N] {
	return func(yield func(Verdict, N) bool) {
		for v := range Reasons {
			if !yield(v, p[v]) {
				return
			}
		}
	}
}

// Add adds n for a reason of another process, which may know reasons that this one
// does not: those count as NoRoom.
func (p *PerReason[N]) Add(reason int, n N) {
	if reason <= int(Acquired) || reason >= int(verdicts) {
		reason = int(NoRoom)
	}
	p[reason] += n
}

// MarshalJSON encodes an object of numbers by [Verdict.Name].
func (p PerReason[N]) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for v, n := range p.All() {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, v.Name())
		number, err := json.Marshal(n)
		if err != nil {
			return nil, err
		}
		b = append(append(b, ':'), number...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON decodes the object of MarshalJSON. Unknown reasons count as NoRoom.
func (p *PerReason[N]) UnmarshalJSON(b []byte) error {
	var byName map[string]N
	if err := json.Unmarshal(b, &byName); err != nil {
		return err
	}
	*p = PerReason[N]{}
	for v := range Reasons {
		p[v] = byName[v.Name()]
		delete(byName, v.Name())
	}
	for _, n := range byName {
		p[NoRoom] += n
	}
	return nil
}
