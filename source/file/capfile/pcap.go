package capfile

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Magic numbers of pcap files that libpcap reads; the byte order is the writer's.
const (
	pcapMicro    = 0xa1b2c3d4
	pcapNano     = 0xa1b23c4d
	pcapModified = 0xa1b2cd34 // Kuznetzov's: a longer record header
)

// Lengths in bytes.
const (
	pcapHeader         = 24
	pcapRecord         = 16 // before each packet
	pcapModifiedRecord = 24 // the same, then ifindex, protocol, packet type and padding
)

// Versions of the format.
const (
	pcapMajor      = 2
	pcapMinor      = 4
	pcapMajorDGUX  = 543 // of DG/UX's tcpdump, with a minor version of 0
	pcapOldLengths = 3   // up to this minor version the lengths may be exchanged
)

// pcapLinkMask selects the link type: the upper bits describe the FCS.
const pcapLinkMask = 0x03ffffff

func isPcap(magic []byte) bool {
	_, _, ok := pcapMagic(magic)
	return ok
}

func pcapMagic(b []byte) (order binary.ByteOrder, magic uint32, ok bool) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch magic := order.Uint32(b); magic {
		case pcapMicro, pcapNano, pcapModified:
			return order, magic, true
		}
	}
	return nil, 0, false
}

// pcapFile reads the records of a pcap file, as libpcap's sf-pcap.c does.
type pcapFile struct {
	f         *Reader
	order     binary.ByteOrder
	record    int   // bytes of a record's header
	unit      int64 // of the fraction of a second, in nanoseconds
	exchanged func(kept, length uint32) bool
}

// openPcap reads the header of a pcap file.
func openPcap(f *Reader) (func(*Packet) error, error) {
	header, err := f.r.Peek(pcapHeader)
	if err == io.EOF {
		return nil, fmt.Errorf("file header: %w", ErrTruncated)
	}
	if err != nil {
		return nil, fmt.Errorf("file header: %w", err)
	}
	order, magic, _ := pcapMagic(header)
	p := &pcapFile{f: f, order: order, record: pcapRecord, unit: 1000}
	switch magic {
	case pcapNano:
		p.unit = 1
	case pcapModified:
		p.record = pcapModifiedRecord
	}
	major, minor := order.Uint16(header[4:]), order.Uint16(header[6:])
	switch {
	case major == pcapMajor && minor < pcapOldLengths, major == pcapMajorDGUX && minor == 0:
		p.exchanged = func(uint32, uint32) bool { return true }
	case major == pcapMajor && minor == pcapOldLengths: // some writers exchanged them, some did not
		p.exchanged = func(kept, length uint32) bool { return kept > length }
	case major == pcapMajor && minor == pcapMinor:
		p.exchanged = func(uint32, uint32) bool { return false }
	default:
		return nil, fmt.Errorf("file header: pcap version %d.%d: want %d.0 to %d.%d, or %d.0", major, minor, pcapMajor, pcapMajor, pcapMinor, pcapMajorDGUX)
	}
	link := order.Uint32(header[20:]) & pcapLinkMask
	if link > math.MaxUint16 {
		return nil, fmt.Errorf("file header: link type %d: want at most %d", link, math.MaxUint16)
	}
	f.interfaces = []Interface{{LinkType: LinkType(link), SnapLen: order.Uint32(header[16:])}}
	f.r.Discard(pcapHeader)
	f.pos = pcapHeader
	return p.next, nil
}

// next reads a record. A packet may be longer than the header's snapshot length, which some
// writers exceed, and than its own length field.
func (p *pcapFile) next(out *Packet) error {
	head, err := p.f.r.Peek(p.record)
	if err == io.EOF && len(head) == 0 {
		return io.EOF
	}
	if err != nil {
		return truncated(err)
	}
	sec, fraction := p.order.Uint32(head), p.order.Uint32(head[4:])
	kept, length := p.order.Uint32(head[8:]), p.order.Uint32(head[12:])
	if p.exchanged(kept, length) {
		kept, length = length, kept
	}
	if kept > MaxPacket {
		return fmt.Errorf("packet of %d bytes: want at most %d", kept, MaxPacket)
	}
	p.f.r.Discard(p.record)
	if out.Data, err = p.f.bytes(int(kept)); err != nil {
		return truncated(err)
	}
	out.Timestamp = int64(sec)*1e9 + int64(fraction)*p.unit
	out.Len = max(int(kept), int(length))
	p.f.pos += int64(p.record) + int64(kept)
	return nil
}
