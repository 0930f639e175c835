package race

import (
	"encoding/binary"
	"fmt"

	"github.com/rxring/rxring/source/netstack/streams/payload"
	"github.com/rxring/rxring/tpacket"
)

// Header lengths in bytes, and where fields are.
const (
	ethernetLen = 14
	ipv4Len     = 20
	tcpLen      = 20
	ipProtoTCP  = 6
)

// check demands that a captured packet is one that the connections sent: headers
// of one of them, and every byte of content where its sequence number says. It
// returns how many bytes of content there are.
func (t *traffic) check(b []byte) (content int, err error) {
	foreign := func(what string) (int, error) {
		return 0, fmt.Errorf("its headers are those of no packet that was sent: %s", what)
	}
	if len(b) < ethernetLen+ipv4Len+tcpLen || binary.BigEndian.Uint16(b[12:]) != tpacket.ETHPIP {
		return foreign("no IPv4")
	}
	ip := b[ethernetLen:]
	header := int(ip[0]&0xf) * 4
	if ip[0]>>4 != 4 || header < ipv4Len || len(ip) < header+tcpLen || ip[9] != ipProtoTCP {
		return foreign("no TCP")
	}
	end := int(binary.BigEndian.Uint16(ip[2:]))
	tcp := ip[header:]
	header += int(tcp[12]>>4) * 4
	source, destination := binary.BigEndian.Uint16(tcp), binary.BigEndian.Uint16(tcp[2:])
	if end = min(end, len(ip)); header > end {
		return foreign("lengths")
	}
	if source == t.server && t.byPort[destination] != nil {
		if end > header {
			return foreign("content from a side that sends none")
		}
		return 0, nil
	}
	f := t.byPort[source]
	if f == nil || destination != t.server {
		return foreign(fmt.Sprintf("ports %d and %d", source, destination))
	}
	data := ip[header:end]
	if len(data) == 0 {
		return 0, nil
	}
	return len(data), f.check(binary.BigEndian.Uint32(tcp[4:]), data)
}

// check demands that data is what the flow's stream holds at sequence number seq.
func (f *flow) check(seq uint32, data []byte) error {
	if !f.based {
		p, err := payload.Verify(data)
		if err == payload.ErrNoBlock && len(data) < payload.MinVerify {
			return nil // too short to tell
		}
		if err != nil {
			return err
		}
		if p.Stream != f.stream {
			return fmt.Errorf("%v in a connection that carries stream %d", p, f.stream)
		}
		f.based, f.base = true, seq-uint32(p.Offset)
	}
	// Sequence numbers count modulo 4 GiB: the place meant is the one nearest to
	// where the content claims to be, or else to where the flow was last.
	near := f.last
	if at, claimed, ok := payload.Find(data); ok {
		near = claimed.Offset - uint64(at)
	}
	f.last = near + uint64(int64(int32(seq-f.base-uint32(near))))
	return payload.VerifyAt(data, payload.Position{Stream: f.stream, Offset: f.last})
}
