package ring

import (
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
)

// Verdict is what became of a packet at a ring: Acquired, or why it was dropped.
type Verdict uint8

const (
	Acquired  Verdict = iota // the caller owns the slot until it calls Release
	Full                     // the head slot has not come back from the reader, or the queue is full
	Owned                    // the head slot is free, but a slower writer still fills it
	Releasing                // the head slot's writer stands between its release stores, and stays there
	NoRoom                   // the ring was closed or exchanged meanwhile, or the headers do not fit or have no word for the offload
	Lost                     // it never came: lost before the device (rxring.Device.Lost)
	Malformed                // it is too short, or of a kind that the device cannot show
	Throttled                // its user's sockets took more of the writers' time than is theirs (rxring.Account)
	verdicts                 // other processes know reasons by their numbers (package attach): new ones go last
)

// reasons is the one list of why packets are dropped: whatever counts or shows
// drops goes through it.
var reasons = [verdicts]struct{ name, text, explanation string }{
	Full:      {"ring_full", "ring full", "ring full"},
	Owned:     {"slot_owned", "slot still owned", "slot still owned by a slower writer"},
	Releasing: {"slot_releasing", "slot being released", "slot about to be released"},
	NoRoom:    {"no_room", "no room", "ring just closed, or no room for headers"},
	Lost:      {"before_device", "before the device", "lost before the device"},
	Malformed: {"malformed", "malformed", "malformed: shorter than a link-layer header, or of no type that the device has"},
	Throttled: {"throttled", "throttled", "throttled: its user's sockets took too much of the writers' time"},
}

// Reasons goes through the verdicts that are reasons for a drop.
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

// Name is the reason as JSON, metrics and logs have it: letters and underscores.
func (v Verdict) Name() string { return reasons[v].name }

// Explanation is the reason for somebody who does not know it.
func (v Verdict) Explanation() string { return reasons[v].explanation }

// PerReason has a number for each reason to drop a packet, by [Verdict]. That of
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

// All goes through the reasons and their numbers.
func (p *PerReason[N]) All() iter.Seq2[Verdict, N] {
	return func(yield func(Verdict, N) bool) {
		for v := range Reasons {
			if !yield(v, p[v]) {
				return
			}
		}
	}
}

// Add adds n to the number of the reason that has that number in another process,
// which may know reasons that this one does not: those are added to NoRoom.
func (p *PerReason[N]) Add(reason int, n N) {
	if reason <= int(Acquired) || reason >= int(verdicts) {
		reason = int(NoRoom)
	}
	p[reason] += n
}

// MarshalJSON makes an object of numbers by [Verdict.Name].
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

// UnmarshalJSON reads what MarshalJSON makes. Reasons of names that it does not
// know are added to NoRoom.
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
