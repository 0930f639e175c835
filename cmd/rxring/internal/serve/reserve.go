package serve

import (
	"cmp"

	"github.com/rxring/rxring/attach"
)

// reserve divides half of max_memory equally between the users that rules name, so that a
// few users cannot use all of it. A user's share is at most what the first rule that names
// the user allows.
func (c *Config) reserve() (shares map[uint32]int64, total int64) {
	shares = make(map[uint32]int64)
	for i := range c.Rules {
		r := &c.Rules[i]
		for _, u := range r.Users {
			if _, known := shares[u.ID]; u.Any || known {
				continue
			}
			shares[u.ID] = cmp.Or(r.MaxMemory, attach.DefaultMaxMemory)
		}
	}
	for id, limit := range shares {
		shares[id] = min(limit, c.MaxMemory/2/int64(len(shares)))
		total += shares[id]
	}
	return shares, total
}
