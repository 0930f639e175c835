package serve

import (
	"maps"
	"testing"

	"github.com/rxring/rxring/attach"
)

func TestReservedShares(t *testing.T) {
	const mib = 1 << 20
	user := func(ids ...uint32) (all []Principal) {
		for _, id := range ids {
			all = append(all, Principal{ID: id})
		}
		return all
	}
	for _, tt := range []struct {
		name  string
		rules []Rule
		want  map[uint32]int64
	}{
		{"no rules", nil, map[uint32]int64{}},
		{"everybody is nobody by name", []Rule{{Users: []Principal{{Any: true}}}, {Groups: user(7)}}, map[uint32]int64{}},
		{"one user", []Rule{{Users: user(1000)}}, map[uint32]int64{1000: attach.DefaultMaxMemory}},
		{"a small rule", []Rule{{Users: user(1000), MaxMemory: mib}, {Users: user(1001)}}, map[uint32]int64{1000: mib, 1001: 256 * mib}},
		{"the first rule counts", []Rule{{Users: user(1000, 1001), MaxMemory: mib}, {Users: user(1001)}}, map[uint32]int64{1000: mib, 1001: mib}},
		{"many users", []Rule{{Users: user(1, 2, 3, 4, 5, 6, 7, 8), MaxMemory: 2048 * mib}}, map[uint32]int64{1: 64 * mib, 2: 64 * mib, 3: 64 * mib, 4: 64 * mib, 5: 64 * mib, 6: 64 * mib, 7: 64 * mib, 8: 64 * mib}},
	} {
		c := Config{MaxMemory: 1024 * mib, Rules: tt.rules}
		got, total := c.reserve()
		if !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		sum := int64(0)
		for _, n := range got {
			sum += n
		}
		if total != sum || total > c.MaxMemory/2 {
			t.Errorf("%s: %d bytes together, want %d, and at most half", tt.name, total, sum)
		}
	}
}
