package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// seen counts what the scripts of a test run did, so that no part of them stops
// unnoticed.
var seen tally

type tally struct {
	steps, rings, packets atomic.Int64
	status                atomic.Uint32 // bits that the kernel's rings had

	mu    sync.Mutex
	calls map[string]int // by kind of step, option and errno
}

func (y *tally) step(o op, got outcome) {
	if f, ok := o.(fails); ok {
		o = f.op
	}
	y.steps.Add(1)
	name := fmt.Sprintf("%T", o)
	switch o := o.(type) {
	case set:
		name = "set " + optionName(o.level, o.name)
	case get:
		name = "get " + optionName(o.level, o.name)
	case arrive:
		y.packets.Add(int64(o.times))
	case leave:
		y.packets.Add(int64(o.times))
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.calls == nil {
		y.calls = make(map[string]int)
	}
	y.calls[name+" "+errnoName(got.errno())]++
}

// moved is how many frames were sent and received by plain calls.
func (y *tally) moved() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.calls["conformance.send ok"] + y.calls["conformance.recv ok"]
}

// log says what was done, and what came of it.
func (y *tally) log(t *testing.T) {
	t.Logf("%d steps, %d packets, %d comparisons of a ring", y.steps.Load(), y.packets.Load(), y.rings.Load())
	if !testing.Verbose() {
		return
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, call := range slices.Sorted(maps.Keys(y.calls)) {
		t.Logf("%7d %s", y.calls[call], call)
	}
}

// enough wants every step to have worked, and every option to have been set and
// read.
func (y *tally) enough(t *testing.T) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, o := range []op{
		socket{}, closeSocket{}, bind{}, attach{}, getFilter{}, fanoutProgram{}, mmap{}, munmap{}, recv{}, read{}, send{}, fill{}, handBack{}, store{},
		arrive{}, leave{}, device{}, expire{},
	} {
		if name := fmt.Sprintf("%T %s", o, errnoName(0)); y.calls[name] == 0 {
			t.Errorf("never: %s", name)
		}
	}
	used := make(map[string]bool)
	for call := range y.calls {
		used[call[:strings.LastIndexByte(call, ' ')]] = true
	}
	for _, o := range options {
		for _, verb := range []string{"set ", "get "} {
			if name := verb + optionName(o.level, o.number); !used[name] {
				t.Errorf("never: %s", name)
			}
		}
	}
}
