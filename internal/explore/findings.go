//go:build explore

package explore

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// What can go wrong with slots and with blocks, and the rule of the ring that is
// broken then.
const (
	TornRead   Fault = "torn packet read"           // R2
	OutOfOrder Fault = "packet read out of order"   // R3, and exactly once
	LostRead   Fault = "accepted packet never read" // the same
	Miscounted Fault = "packets do not add up"      // R4
	ForNothing Fault = "packet lost for nothing"    // dropped though there was room
	Stuck      Fault = "ring stuck with no writer in it"
)

// Reader is a kind of party on the other side.
type Reader string

const (
	Lawful  Reader = "lawful"  // reads USER slots in order, and knows KERNEL_OWNED
	Legacy  Reader = "legacy"  // takes every status but KERNEL for USER, as libpcap
	Hostile Reader = "hostile" // stores anything to any slot, at any time
	Stopped Reader = "stopped" // never reads
)

// Findings are what searches over several scopes found.
type Findings struct {
	States, Runs int
	Traces       map[Fault][]string     // the shortest of each
	Where        map[Fault]fmt.Stringer // its scope
	began        time.Time
}

// NewFindings returns findings of no search.
func NewFindings() *Findings {
	return &Findings{Traces: make(map[Fault][]string), Where: make(map[Fault]fmt.Stringer), began: time.Now()}
}

// Add adds what a search of scope found.
func (f *Findings) Add(scope fmt.Stringer, r Result) {
	f.States, f.Runs = f.States+r.States, f.Runs+r.Runs
	for fault, trace := range r.Traces {
		if was, ok := f.Traces[fault]; !ok || len(trace) < len(was) {
			f.Traces[fault], f.Where[fault] = trace, scope
		}
	}
}

// Check logs a line for what was explored with reader. It fails t for a fault
// that is not in want, and for one in want that was not found.
func (f *Findings) Check(t *testing.T, what fmt.Stringer, reader Reader, want ...Fault) {
	t.Helper()
	found := slices.Sorted(maps.Keys(f.Traces))
	verdict := "holds"
	if len(found) > 0 {
		verdict = join(found)
	}
	t.Logf("%-20v %-8s reader: %9d states %6.1fs: %s", what, reader, f.States, time.Since(f.began).Seconds(), verdict)
	for _, fault := range found {
		switch trace := "  " + strings.Join(f.Traces[fault], "\n   "); {
		case !slices.Contains(want, fault):
			t.Errorf("%v: unexpected: %s\n %s", f.Where[fault], fault, trace)
		case testing.Verbose():
			t.Logf("%v: %s, as expected:\n %s", f.Where[fault], fault, trace)
		}
	}
	for _, fault := range want {
		if _, ok := f.Traces[fault]; !ok {
			t.Errorf("%v with a %s reader: no interleaving shows what it should: %s", what, reader, fault)
		}
	}
}

func join(faults []Fault) string {
	var words []string
	for _, f := range faults {
		words = append(words, string(f))
	}
	return strings.Join(words, ", ")
}
