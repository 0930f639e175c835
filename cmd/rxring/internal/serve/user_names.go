package serve

import (
	"os/user"
	"strconv"
	"sync"
	"time"
)

const (
	// nameWait limits how long a message waits for a user's name, which another machine
	// may serve (nsswitch.conf(5)).
	nameWait = time.Second
	// nameAge is how long a name is cached.
	nameAge = time.Minute
	// maxNames limits the cached names, and maxLookups the pending lookups.
	maxNames, maxLookups = 1024, 16
)

// nameCache caches users' names. Its methods may be called concurrently.
type nameCache struct {
	lookup func(id string) (*user.User, error)

	mu      sync.Mutex
	known   map[uint32]*name
	pending int // lookups
}

type name struct {
	done chan struct{} // closed when text is set
	text string        // "": the user has none
	at   time.Time
}

var userNames = nameCache{lookup: user.LookupId, known: make(map[uint32]*name)}

// UserName returns a user's name and number for messages: alice (1000). If the lookup fails
// or takes too long, it returns the number alone.
func UserName(uid uint32) string { return userNames.of(uid) }

func (c *nameCache) of(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	n := c.find(uid, id)
	if n == nil {
		return id
	}
	if !n.wait() {
		return id
	}
	if n.text == "" {
		return id
	}
	return n.text + " (" + id + ")"
}

// wait waits until nameWait after the lookup's start, and reports whether it has ended.
func (n *name) wait() bool {
	select {
	case <-n.done:
		return true
	default:
	}
	select {
	case <-n.done:
		return true
	case <-time.After(time.Until(n.at.Add(nameWait))):
		return false
	}
}

// find returns the user's name, whose lookup may be pending; nil: too many lookups are.
func (c *nameCache) find(uid uint32, id string) *name {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.known[uid]; n != nil && time.Since(n.at) < nameAge {
		return n
	}
	if c.pending >= maxLookups {
		return nil
	}
	if len(c.known) >= maxNames {
		clear(c.known)
	}
	n := &name{done: make(chan struct{}), at: time.Now()}
	c.known[uid] = n
	c.pending++
	go func() {
		if u, err := c.lookup(id); err == nil {
			n.text = u.Username
		}
		close(n.done)
		c.mu.Lock()
		c.pending--
		c.mu.Unlock()
	}()
	return n
}
