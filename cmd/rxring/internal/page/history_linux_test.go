package page_test

import (
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
)

// The history of the overview has nothing that the latest snapshot does not show: a reload of the
// rules may hide it.
func TestHistoryWithinTheGrantOfNow(t *testing.T) {
	need.Time(t, "it waits for samples")
	var state atomic.Int32 // 0: all, 1: wg0 alone, 2: refused
	s := newScene(t, attach.Grant{})
	s.setGrant(func() (attach.Grant, error) {
		g := attach.Grant{AllStatus: state.Load() == 0}
		if state.Load() == 2 {
			return g, errors.New("revoked")
		}
		return g, nil
	})
	c, err := attach.Dial(t.Context(), s.attach.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hidden, err := c.Socket(rxring.SockRaw, 3) // ETH_P_ALL
	if err != nil {
		t.Fatal(err)
	}
	defer hidden.Close()
	type samples []struct{ Sockets map[string]json.RawMessage }
	count := func(all samples) (n int) {
		for _, sample := range all {
			n += len(sample.Sockets)
		}
		return n
	}
	var snap struct {
		Error  string
		Sample struct{ Sockets map[string]any }
	}
	e := s.stream("/overview/events")
	for len(snap.Sample.Sockets) == 0 {
		e.await("snapshot", &snap)
	}
	look := func() (all samples) {
		s.stream("/overview/events").await("history", &all)
		return all
	}
	if count(look()) == 0 {
		t.Error("the history has no socket")
	}
	state.Store(1)
	s.attach.Regrant()
	for snap.Sample.Sockets = nil; ; snap.Sample.Sockets = nil {
		if e.await("snapshot", &snap); len(snap.Sample.Sockets) == 0 {
			break
		}
	}
	if all := look(); len(all) == 0 || count(all) != 0 {
		t.Errorf("%d samples with %d values of a socket that is hidden now", len(all), count(all))
	}
	state.Store(2)
	s.attach.Regrant()
	for snap.Error == "" {
		e.await("snapshot", &snap)
	}
	if all := look(); snap.Error != "revoked" || len(all) != 0 {
		t.Errorf("%q, and a history of %d samples", snap.Error, len(all))
	}
}
