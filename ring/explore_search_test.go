//go:build explore

package ring

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"unsafe"
)

// The exploration runs the shipped functions of writers, of every design of
// slots and of blocks, at small scope, through all interleavings of their steps
// on memory that others can touch, and judges each. It is a depth-first search
// that runs a schedule from the start each time, and ends it where it meets a
// state that it has seen: the same memory, and every party at the same place
// having read the same values.

// A fault is a property that an interleaving broke.
type fault string

// world is one run of what is explored.
type world interface {
	common() *stage
	sample() // after each step: what is true now
	name(*word) (wordInfo, bool)
	key() stateKey // identifies the state
	finish()       // judges a run that has come to its end
}

// stage is what all worlds have in common: parties, and a record.
type stage struct {
	parties []*coroutine
	trace   []event
	faults  []fault
	over    bool // broken beyond what is worth running on
}

// wordInfo is what traces say of a private word.
type wordInfo struct {
	name  string
	value func(uint64) string
}

// name has no names.
func (s *stage) name(*word) (wordInfo, bool) { return wordInfo{}, false }

func (s *stage) common() *stage { return s }

func (s *stage) add(name string, body func()) {
	c := newCoroutine(name, body)
	s.parties = append(s.parties, c)
	c.advance() // up to its first step
}

// fail notes a fault. The run goes on only if more may come of it.
func (s *stage) fail(f fault, goOn bool, format string, args ...any) {
	s.faults = append(s.faults, f)
	s.trace = append(s.trace, event{"  *** " + string(f) + ":", format, args, nil})
	s.over = !goOn
}

// say notes what a step meant.
func (s *stage) say(format string, args ...any) {
	s.trace = append(s.trace, event{"    " + running.name, format, args, nil})
}

// event is a line of a trace: written out only when it is wanted.
type event struct {
	who    string
	format string
	args   []any
	word   *word // that it is about; nil: about none
}

// write writes e out, with the names that w has for its words.
func (e event) write(w world) string {
	format, args := e.format, slices.Clone(e.args)
	if e.word != nil {
		info, ok := w.name(e.word)
		if !ok {
			info = wordInfo{"a private word", func(v uint64) string { return fmt.Sprintf("%#x", v) }}
		}
		format = strings.Replace(format, "a private word", info.name, 1)
		for i, v := range args {
			args[i] = info.value(v.(uint64))
		}
	}
	return e.who + " " + fmt.Sprintf(format, args...)
}

// action is one decision of the scheduler.
type action struct{ party, choice int }

func (s *stage) enabled() (a []action) {
	for i, c := range s.parties {
		if c.done || c.at.blocked != nil && c.at.blocked() {
			continue
		}
		for choice := range max(c.at.choices, 1) {
			a = append(a, action{i, choice})
		}
	}
	return a
}

func (s *stage) do(a action) {
	c := s.parties[a.party]
	c.choice = a.choice
	s.trace = append(s.trace, event{c.name, c.at.what, c.at.args, c.at.word})
	c.advance()
}

func (s *stage) kill() {
	running = nil
	for _, c := range s.parties {
		c.stop()
	}
}

// stateKey is a hash of a state, long enough that no two states share one.
type stateKey [2]uint64

func newKey() stateKey { return stateKey{1, 2} }

func (k *stateKey) put(v uint64) { k[0], k[1] = mix(k[0], v), mix(k[1], v^0xdeadbeef) }

func (k *stateKey) putBytes(b []byte) {
	for i := 0; i < len(b); i += 8 {
		k.put(*(*uint64)(unsafe.Pointer(&b[i])))
	}
}

// cell is a private word or counter of what is explored.
type cell struct {
	p    unsafe.Pointer
	size uintptr
}

func (k *stateKey) putCells(cells []cell) {
	for _, c := range cells {
		switch c.size {
		case 8:
			k.put(*(*uint64)(c.p))
		case 4:
			k.put(uint64(*(*uint32)(c.p)))
		default:
			k.put(uint64(*(*uint8)(c.p)))
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// result is what an exploration found.
type result struct {
	states, runs int
	traces       map[fault][]string // the shortest that it came upon, of each
}

func explore(start func() world) result {
	type node struct {
		actions []action
		next    int
	}
	found := result{traces: make(map[fault][]string)}
	seen := make(map[stateKey]struct{})
	var path []node
	for {
		found.runs++
		w := start()
		s := w.common()
		do := func(a action) {
			s.do(a)
			w.sample()
		}
		for _, n := range path {
			do(n.actions[n.next])
		}
		for !s.over {
			k := w.key()
			if _, ok := seen[k]; ok {
				break
			}
			seen[k] = struct{}{}
			actions := s.enabled()
			if len(actions) == 0 {
				running = nil
				w.finish()
				break
			}
			path = append(path, node{actions, 0})
			do(actions[0])
		}
		for _, f := range s.faults {
			if t, ok := found.traces[f]; !ok || len(s.trace) < len(t) {
				found.traces[f] = written(w)
			}
		}
		s.kill()
		for len(path) > 0 {
			top := &path[len(path)-1]
			if top.next++; top.next < len(top.actions) {
				break
			}
			path = path[:len(path)-1]
		}
		if len(path) == 0 {
			found.states = len(seen)
			return found
		}
	}
}

// written is a world's trace in words.
func written(w world) (lines []string) {
	for _, e := range w.common().trace {
		lines = append(lines, e.write(w))
	}
	return lines
}

func names(found map[fault][]string) (all []string) {
	for f := range found {
		all = append(all, string(f))
	}
	sort.Strings(all)
	return all
}

func story(trace []string) string {
	var b strings.Builder
	for _, line := range trace {
		fmt.Fprintln(&b, "  ", line)
	}
	return b.String()
}
