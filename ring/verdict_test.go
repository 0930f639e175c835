package ring_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/rxring/rxring/ring"
)

func TestEveryReasonHasItsOwnNames(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`) // fit for JSON, metrics and logs
	seen := make(map[string]bool)
	for v := range ring.Reasons {
		if !name.MatchString(v.Name()) || seen[v.Name()] {
			t.Errorf("reason %d: name %q", v, v.Name())
		}
		if v.Explanation() == "" || strings.HasPrefix(v.String(), "Verdict") || seen[v.String()] {
			t.Errorf("reason %d: %q, %q", v, v, v.Explanation())
		}
		seen[v.Name()], seen[v.String()] = true, true
	}
}

func TestDropsAreJSONByName(t *testing.T) {
	drops := ring.Drops{ring.Full: 7, ring.NoRoom: 1<<64 - 1}
	b, err := json.Marshal(drops)
	if err != nil || !strings.HasPrefix(string(b), `{"ring_full":7,"slot_owned":0,`) {
		t.Fatalf("%v: %s", err, b)
	}
	var got ring.Drops
	if err := json.Unmarshal(b, &got); err != nil || got != drops {
		t.Errorf("%v: %s is read as %v", err, b, got)
	}
	// No drop is lost on the way from a process that knows more reasons.
	if err := json.Unmarshal([]byte(`{"ring_full":7,"cosmic_rays":3}`), &got); err != nil || got != (ring.Drops{ring.Full: 7, ring.NoRoom: 3}) {
		t.Errorf("%v: %v", err, got)
	}
	if json.Unmarshal([]byte(`{"ring_full":-7}`), &got) == nil || json.Unmarshal([]byte(`[]`), &got) == nil {
		t.Error("what counts nothing is taken")
	}
	got = ring.Drops{}
	got.Add(int(ring.Owned), 2)
	got.Add(len(got), 3)
	if got.Sum() != 5 || got[ring.Owned] != 2 || got[ring.NoRoom] != 3 {
		t.Error(got)
	}
}
