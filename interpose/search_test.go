//go:build linux && (amd64 || arm64)

package interpose

import (
	"context"
	"sync"
	"testing"
)

// A search for closed sockets takes long where the program has very many descriptors.
// Here it does not end at all before the program has its answers.
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
