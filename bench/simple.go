package bench

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/tpacket"
)

// bareCopy is what is left of a capture when everything but the copy is taken
// away: the same bytes to the same places of the same kind of memory.
type bareCopy struct {
	memory *ringmem.Memory
	packet []byte
	stride int
	slots  int
	next   int
	sent   uint64
}

func openCopy(size int) (session, error) { return openCopyTo(size, ringRequest(size)) }

func openCopyTo(size int, request tpacket.Req) (session, error) {
	g, err := geometry(request)
	if err != nil {
		return nil, err
	}
	m, err := ringmem.New(g.Size())
	if err != nil {
		return nil, err
	}
	return &bareCopy{memory: m, packet: packet(size), stride: int(g.FrameSize), slots: int(g.FrameNr)}, nil
}

func (c *bareCopy) send(n int) {
	b := c.memory.Bytes()
	for range n {
		copy(b[c.next*c.stride+macOffset:], c.packet)
		if c.next++; c.next == c.slots {
			c.next = 0
		}
	}
	c.sent += uint64(n)
}

func (c *bareCopy) empty() {}

// settle looks at every slot: send always goes around the whole ring.
func (c *bareCopy) settle() (tally, error) {
	b := c.memory.Bytes()
	for i := range min(c.slots, int(c.sent)) {
		if !bytes.Equal(b[i*c.stride+macOffset:][:len(c.packet)], c.packet) {
			return tally{}, fmt.Errorf("slot %d does not hold the packet", i)
		}
	}
	return tally{accepted: c.sent, read: c.sent, bytes: c.sent * uint64(len(c.packet))}, nil
}

func (c *bareCopy) close() error { return c.memory.Close() }

// channel is what one writes without a ring: a Go channel of copies, emptied by
// a goroutine. As with a ring, what does not fit is dropped and counted.
type channel struct {
	packet            []byte
	ch                chan []byte
	accepted, dropped uint64
	read, bytes       atomic.Uint64
	done              chan struct{}
}

func openChannel(size int) (session, error) {
	c := &channel{packet: packet(size), ch: make(chan []byte, lapOf(size)), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for b := range c.ch {
			c.bytes.Add(uint64(len(b)))
			c.read.Add(1)
		}
	}()
	return c, nil
}

func (c *channel) send(n int) {
	for range n {
		b := make([]byte, len(c.packet))
		copy(b, c.packet)
		select {
		case c.ch <- b:
			c.accepted++
		default:
			c.dropped++
		}
	}
}

func (c *channel) empty() {}

func (c *channel) settle() (tally, error) {
	err := waitFor(func() bool { return c.read.Load() == c.accepted })
	return tally{accepted: c.accepted, dropped: c.dropped, read: c.read.Load(), bytes: c.bytes.Load()}, err
}

func (c *channel) close() error {
	close(c.ch)
	<-c.done
	return nil
}
