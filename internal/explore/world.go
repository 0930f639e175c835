//go:build explore

package explore

import (
	"fmt"
	"slices"
	"strings"
)

// A Fault is a property that an interleaving broke.
type Fault string

// World is one run of what is explored. It embeds [Stage].
type World interface {
	Sample()  // is called after each step, to note what is true now
	Key() Key // identifies the state
	Finish()  // checks a run that has come to its end
	Name(*Word) (WordInfo, bool)
	stage() *Stage
}

// WordInfo is how traces show a private word.
type WordInfo struct {
	Name  string
	Value func(uint64) string
}

// spare is the memory of an earlier run's trace.
var spare []event

// Stage holds a world's parties and the record of its run.
type Stage struct {
	parties []*party
	trace   []event
	faults  []Fault
	over    bool // broken beyond what is worth running on
}

func (s *Stage) stage() *Stage { return s }

// Name is a [World] without names for its words.
func (s *Stage) Name(*Word) (WordInfo, bool) { return WordInfo{}, false }

// Add adds a party that runs body, and runs it up to its first step.
func (s *Stage) Add(name string, body func()) {
	if len(s.parties) == 0 {
		s.trace, spare = spare, nil
	}
	p := newParty(name, body)
	s.parties = append(s.parties, p)
	p.advance()
}

// Fail records a fault. The run goes on if goOn: if more may come of it.
func (s *Stage) Fail(f Fault, goOn bool, format string, args ...any) {
	s.faults = append(s.faults, f)
	s.trace = append(s.trace, event{thread: "  *** " + string(f) + ":", format: format, args: args})
	s.over = !goOn
}

// Failed reports whether a fault was recorded.
func (s *Stage) Failed() bool { return len(s.faults) > 0 }

// Say records what the running party's step meant.
func (s *Stage) Say(format string, args ...any) {
	s.trace = append(s.trace, event{thread: "    ", party: running, format: format, args: args})
}

// PutParties adds the parties' states to k. The first writers of them differ in
// nothing but their names: states that are alike but for those are one. call is
// what more there is to the state of writer i, if any.
func (s *Stage) PutParties(k *Key, writers int, call func(i int) (state uint64, ok bool)) {
	all := make([]uint64, len(s.parties))
	for i, p := range s.parties {
		all[i] = Mix(p.seen, Bit(p.done))
		if i < writers {
			if state, ok := call(i); ok {
				all[i] = Mix(all[i], state)
			}
		}
	}
	slices.Sort(all[:writers])
	for _, state := range all {
		k.Put(state)
	}
}

// event is a line of a trace: written out only when it is wanted.
type event struct {
	thread   string
	party    *party // nil: none
	format   string
	args     []any
	stepArgs [2]any    // of a step; the first that is nil ends them
	word     *Word     // that it is about; nil: about none
	values   [2]uint64 // of word, for the verbs of format
}

// write writes e out, with the names that w has for its words.
func (e event) write(w World) string {
	format, args := e.format, e.args
	for _, a := range e.stepArgs {
		if a != nil {
			args = append(args, a)
		}
	}
	if e.word != nil {
		info, ok := w.Name(e.word)
		if !ok {
			info = WordInfo{"a private word", func(v uint64) string { return fmt.Sprintf("%#x", v) }}
		}
		for _, v := range e.values[:strings.Count(format, "%v")] {
			args = append(args, info.Value(v))
		}
		format = strings.Replace(format, "a private word", info.Name, 1)
	}
	thread := e.thread
	if e.party != nil {
		thread += e.party.name
	}
	return thread + " " + fmt.Sprintf(format, args...)
}

// action is one decision of the scheduler.
type action struct{ party, choice int }

func (s *Stage) enabled() (a []action) {
	for i, p := range s.parties {
		if p.done || p.at.Blocked != nil && p.at.Blocked() {
			continue
		}
		for choice := range max(p.at.Choices, 1) {
			a = append(a, action{i, choice})
		}
	}
	return a
}

func (s *Stage) do(a action) {
	p := s.parties[a.party]
	p.choice = a.choice
	s.trace = append(s.trace, event{party: p, format: p.at.What, stepArgs: p.at.Args, word: p.at.Word, values: p.at.Values})
	p.advance()
}

func (s *Stage) stop() {
	running = nil
	for _, p := range s.parties {
		p.stop()
	}
	spare = s.trace[:0]
}
