//go:build linux && (amd64 || arm64)

package interpose

import (
	"context"
	"sync"
	"testing"

	"github.com/rxring/rxring"
)

// A search for closed sockets takes long if the program has very many descriptors. Here it
// does not end before the program has its answers.
func TestCallsAreAnsweredDuringASearch(t *testing.T) {
	bin := needWindow(t)
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	answered := make(chan struct{})
	var once sync.Once
	searches := 0
	testHookSearch = func() {
		searches++ // one at a time
		select {
		case <-answered:
		case <-ctx.Done():
		}
	}
	defer func() { testHookSearch = nil }()
	w := newWorld(t, here)
	o := runContext(t, ctx, w.config(bin, "two"), func(line string) {
		if line == "answered" {
			once.Do(func() { close(answered) })
		}
	})
	if o.err != nil || o.ExitCode != 0 || searches == 0 {
		t.Errorf("%v, exit code %d after %d searches: %s", o.err, o.ExitCode, searches, o.stdout)
	}
}

// A descriptor on its way to another process shows in neither of two searches that overlap,
// so they count as one.
func TestOverlappingSearchesCountAsOne(t *testing.T) {
	s, p := sessionWithoutProgram(t, rxring.NewNamespace(rxring.NamespaceConfig{}))
	for range 3 {
		f := s.newSearch(nil, true)
		f.run()
		s.sweep() // meanwhile, for a call that makes a socket
		s.closeMissedTwice(f, s.unheld(f))
		if len(s.sockets.open) == 0 {
			t.Fatal("closed after searches that overlap")
		}
		p.misses = 0 // it was seen
	}
	s.sweep()
	s.sweep()
	if len(s.sockets.open) != 0 {
		t.Error("open after two searches, one after the other, that did not find it")
	}
}
