package serve

import "github.com/rxring/rxring/attach"

// reserve is the shares of max_memory that are kept for the users whom rules name, so that
// no few users can take all. Each has the same part of half of it, and at most what the
// first rule that names the user allows.
func (c *Config) reserve() (shares map[uint32]int64, total int64) {
	shares = make(map[uint32]int64)
	for i := range c.Rules {
		r := &c.Rules[i]
		for _, u := range r.Users {
			if _, known := shares[u.ID]; u.Any || known {
				continue
			}
			shares[u.ID] = r.MaxMemory
			if r.MaxMemory == 0 {
				shares[u.ID] = attach.DefaultMaxMemory
			}
		}
	}
	for id, most := range shares {
		shares[id] = min(most, c.MaxMemory/2/int64(len(shares)))
		total += shares[id]
	}
	return shares, total
}
