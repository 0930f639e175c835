package verify

import (
	"errors"
	"fmt"

	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/netstack/streams/payload"
)

// checksumTrailer is the length of the Ethernet checksum, which some captures include.
const checksumTrailer = 4

// checker checks the packets of all files of a capture one by one, and the connections
// at the end.
type checker struct {
	report Report
	flows  map[flowKey]*flow
}

// packet checks the next packet. It returns an error if packets of this link type cannot
// be parsed.
func (c *checker) packet(link capfile.LinkType, data []byte, original int) error {
	p, err := parse(link, data, original)
	if err != nil {
		return err
	}
	c.report.Packets++
	c.report.Bytes += int64(len(data))

	switch p.kind {
	case foreign:
		if at, pos, ok := payload.Find(data); ok {
			c.tear(fmt.Sprintf("%[2]v begins at byte %[1]d, but the headers are not those of a TCP segment", at, pos))
		}
	case tcpPacket:
		c.segment(&p)
	}
	return nil
}

// segment checks a packet whose headers are those of a TCP segment.
func (c *checker) segment(p *packet) {
	if at, pos, ok := payload.Find(p.beyond); ok {
		c.tear(fmt.Sprintf("%v: %v begins %d bytes after the end of the IP packet, whose header has a length of %d bytes", p.flow, pos, at, p.length))
		return
	}
	switch {
	case len(p.payload) == 0:
		return
	case len(p.payload) == 1 && p.payload[0] == 0:
		return // a window probe, whose content is arbitrary
	}

	at, err := payload.Verify(p.payload)
	if err == payload.ErrNoBlock {
		c.blockless(p)
		return
	}
	var torn *payload.TornError
	switch {
	case errors.As(err, &torn):
		c.tear(fmt.Sprintf("%v: %v", p.flow, err))
	case p.badChecksum:
		c.tear(fmt.Sprintf("%v: %v under an IP header with a wrong checksum", p.flow, at))
	case p.length > p.wire, p.length < p.wire-checksumTrailer:
		c.tear(fmt.Sprintf("%v: %v under an IP header for %d bytes, in a packet with %d bytes for them", p.flow, at, p.length, p.wire))
	default:
		c.flow(p.flow).vote(c.report.Packets, p.seq, at, len(p.payload))
	}
}

// blockless checks a segment without a whole block, as far as is possible
// before the end: its connection may carry no stream at all.
func (c *checker) blockless(p *packet) {
	f, n := c.flow(p.flow), c.report.Packets
	if len(p.payload) >= payload.MinVerify {
		if f.without == 0 {
			f.firstWithout = n
		}
		f.without++
		return
	}
	if f.voteShort(n, p.seq, p.payload) || len(f.short) == maxShort {
		return
	}
	s := shortSegment{packet: n, seq: p.seq, length: uint8(len(p.payload))}
	copy(s.payload[:], p.payload)
	f.short = append(f.short, s)
}

func (c *checker) flow(key flowKey) *flow {
	f := c.flows[key]
	if f == nil {
		f = new(flow)
		c.flows[key] = f
	}
	return f
}

// tear counts the latest packet as torn.
func (c *checker) tear(reason string) {
	c.report.Payload++
	c.report.tear(1, c.report.Packets, reason)
}

// finish checks the connections. It returns an error if no packet belongs to a
// stream.
func (c *checker) finish() (Report, error) {
	for key, f := range c.flows {
		f.finish(key, &c.report)
	}
	if c.report.Payload == 0 {
		return c.report, fmt.Errorf("%d packets: %w", c.report.Packets, ErrNoPayload)
	}
	return c.report, nil
}
