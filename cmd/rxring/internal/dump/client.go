package dump

import (
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// maxQueue is the size of a client's queue in bytes.
const maxQueue = 8 << 20

// finishTime is how long a client may take to receive what is queued when the capture ends.
const finishTime = 2 * time.Second

// stallTime is how long a client may take to receive anything before it is disconnected.
const stallTime = time.Minute

// maxWrite is how many bytes are written at a time: a client that receives some has stallTime
// for the next.
const maxWrite = 256 << 10

// client is a peer of a tcpOutput, whose lock guards the fields before mu.
type client struct {
	conn     net.Conn
	stall    time.Duration
	since    time.Time
	before   uint64 // packets that the capture had dropped when the client connected
	queued   uint64 // packets
	dropped  uint64 // packets for which the queue had no room
	reported uint64 // drops that the client knows of

	left chan struct{} // closed when send has returned

	mu       sync.Mutex
	changed  sync.Cond
	pending  []byte
	finished bool // nothing more will be queued
}

func newClient(conn net.Conn, stall time.Duration, header []byte, drops uint64) *client {
	c := &client{conn: conn, stall: stall, since: time.Now(), before: drops, left: make(chan struct{}), pending: append([]byte(nil), header...)}
	c.changed.L = &c.mu
	return c
}

// dropsSince returns the packets that the client misses, when the capture has dropped drops.
func (c *client) dropsSince(drops uint64) uint64 { return drops - c.before + c.dropped }

// queuePacket queues a packet's block, or counts it as dropped.
func (c *client) queuePacket(block []byte) {
	if !c.hasRoom() {
		c.dropped++
		return
	}
	c.queued++
	c.queue(block)
}

// hasRoom reports whether the queue has room for another block: a packet may exceed it.
func (c *client) hasRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending) < maxQueue
}

func (c *client) queue(block []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = append(c.pending, block...)
	c.changed.Signal()
}

// finish ends send once all is sent, or after finishTime.
func (c *client) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished = true
	c.changed.Signal()
	c.conn.SetWriteDeadline(time.Now().Add(finishTime))
}

// next waits for blocks to send; nil: there will be none. sent is memory to queue the next in.
func (c *client) next(sent []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.pending) == 0 && !c.finished {
		c.changed.Wait()
	}
	if len(c.pending) == 0 {
		return nil
	}
	b := c.pending
	c.pending = sent[:0]
	return b
}

// write writes b, unless the client stalls.
func (c *client) write(b []byte) error {
	for part := range slices.Chunk(b, maxWrite) {
		c.extendDeadline()
		if _, err := c.conn.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// extendDeadline lets the next write take stall. The deadline of finish stays.
func (c *client) extendDeadline() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.finished {
		c.conn.SetWriteDeadline(time.Now().Add(c.stall))
	}
}

// send sends what is queued until the client has left or stalls, or the capture has ended.
func (c *client) send() {
	defer close(c.left)
	var sent []byte
	for {
		if sent = c.next(sent); sent == nil {
			break
		}
		if c.write(sent) != nil {
			break
		}
	}
	c.conn.Close()
}

// discard reads what the client sends: unread bytes would make the kernel reset the connection
// when it is closed, and the last packets would be lost.
//
// It returns nil at the end of what the client sends, which may still receive.
func (c *client) discard() error {
	_, err := io.Copy(io.Discard, c.conn)
	return err
}
