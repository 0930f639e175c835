package stream

import (
	"fmt"
	"time"

	"github.com/rxring/rxring/source/file/capfile"
)

// streamInterface is an interface of a client's stream. A device that is added again has the
// interface, and the counts, of the one before it: a stream describes [capfile.MaxInterfaces] at
// most.
type streamInterface struct {
	id       int
	start    int64  // of the counts, in nanoseconds since the Unix epoch
	received uint64 // packets
	dropped  uint64
}

// interfaceOf returns an interface like in, which it describes unless it has done so.
func (c *session) interfaceOf(in capfile.Interface) (*streamInterface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.interfaces[in]; i != nil {
		return i, nil
	}
	if len(c.interfaces) == capfile.MaxInterfaces {
		err := fmt.Errorf("device %q: the stream has described %d interfaces, which is the most, and ends: connect again", in.Name, len(c.interfaces))
		c.writeStatsLocked(c.firstLocked(), err.Error())
		return nil, err
	}
	id, err := c.w.AddInterface(in)
	if err != nil {
		return nil, err
	}
	i := &streamInterface{id: id, start: time.Now().UnixNano()}
	c.interfaces[in] = i
	return i, nil
}

// firstLocked returns the interface that was described first; nil: there is none.
func (c *session) firstLocked() *streamInterface {
	for _, i := range c.interfaces {
		if i.id == 0 {
			return i
		}
	}
	return nil
}

// probeLocked writes the statistics of an interface again: see probeInterval.
func (c *session) probeLocked() error {
	if first := c.firstLocked(); first != nil {
		return c.writeStatsLocked(first, "")
	}
	return nil
}

// writeStatsLocked writes an interface's counts.
func (c *session) writeStatsLocked(i *streamInterface, comment string) error {
	now := time.Now().UnixNano()
	return c.w.WriteStats(i.id, capfile.Stats{Time: now, Start: i.start, End: now, Received: &i.received, Dropped: &i.dropped, Comment: comment})
}

// reportMissing describes a device for whose ring there is no memory, and says so in its
// statistics.
func (c *session) reportMissing(a *deviceCapture, why error) error {
	c.s.cfg.Logger.Warn("stream: a client misses a device", "client", c.conn.RemoteAddr().String(), "err", why)
	i, err := c.interfaceOf(a.description())
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeStatsLocked(i, why.Error()+": packets are missing until there is memory")
}
