package pipe

import (
	"fmt"
	"math"

	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
)

// described is an interface of the stream.
type described struct {
	likeness
	snapLen uint32
	link    *linktype.Link // nil: no device can show its packets
	err     error          // why
}

// likeness identifies an interface across connections.
type likeness struct {
	name string
	typ  capfile.LinkType
	nth  int // of those with the same name and type, in the order of the stream
}

// connection is one reading of the stream, from its header to its end.
type connection struct {
	s       *Stream
	count   map[likeness]int // interfaces of a likeness, nth being 0
	numbers []int            // by interface of the connection: its index in Stream.interfaces
	drops   []uint64         // by interface of the connection: reported so far
	err     error            // of the first interface that could not be added
}

// describe is called for each interface of the connection, in order.
func (c *connection) describe(_ int, in capfile.Interface) {
	like := likeness{name: in.Name, typ: in.LinkType}
	nth := c.count[like]
	c.count[like]++
	like.nth = nth
	number, err := c.s.addInterface(like, in.SnapLen)
	if c.err == nil {
		c.err = err
	}
	c.numbers = append(c.numbers, number)
	c.drops = append(c.drops, 0)
}

// deliver adds a packet to the batch.
func (c *connection) deliver(p *capfile.Packet) error {
	if c.err != nil {
		return c.err
	}
	i := c.numbers[p.Interface]
	dev := c.s.source.device(i)
	if dev == nil {
		c.s.counts.leftOut.Add(1)
		return nil
	}
	return c.s.batch.Add(dev, c.s.interfaces[i].link, p) // only run appends to interfaces
}

// lost counts the packets that the writer has lost since its last report. Of a report before the
// delivery begins readers learn nothing.
func (c *connection) lost(number int, st capfile.Stats) {
	total := uint64(0)
	for _, n := range []*uint64{st.Dropped, st.OSDropped} {
		if n != nil {
			total += min(*n, math.MaxUint64-total)
		}
	}
	n := total - min(total, c.drops[number])
	c.drops[number] = max(c.drops[number], total)
	if !c.s.delivers || n == 0 || c.err != nil {
		return
	}
	c.s.counts.lost.Add(n)
	if dev := c.s.source.device(c.numbers[number]); dev != nil {
		c.s.batch.Flush() // what was captured before; an error ends the next Read, too
		dev.Lost(n)
	}
}

// addInterface returns the index of an interface in Stream.interfaces. A new one has a device
// from now on, if the source has been started. All connections together describe as many as a
// file may: a writer that connects again and again cannot add devices without end.
func (s *Stream) addInterface(like likeness, snapLen uint32) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, in := range s.interfaces {
		if in.likeness == like {
			return i, nil
		}
	}
	if len(s.interfaces) == capfile.MaxInterfaces {
		return 0, fmt.Errorf("interface %q: the stream has described %d interfaces since it was first opened: want no more", like.name, capfile.MaxInterfaces)
	}
	in := described{likeness: like, snapLen: snapLen}
	in.link, in.err = linktype.Of(like.typ)
	s.interfaces = append(s.interfaces, in)
	if s.source != nil {
		s.source.addMissingLocked()
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return len(s.interfaces) - 1, nil
}
