package capfile

import (
	"encoding/binary"
	"fmt"
)

// maxText is the longest name or filter that is kept whole, in bytes.
const maxText = 4096

// sections reads the blocks of a pcapng file, from section to section.
type sections struct {
	f     *Reader
	order binary.ByteOrder // of the section; nil: there is none yet
	local []local          // the section's interfaces
	count int              // of the sections so far
	alike map[likeness]*numbers
}

// likeness identifies an interface of the file: interfaces of different sections with the same
// likeness are one.
type likeness struct {
	name string
	link LinkType
}

// numbers lists the file's interfaces of one likeness, in the order of their descriptions. A
// section uses them in that order.
type numbers struct {
	all     []int // in Reader.interfaces
	section int   // the last section that used some
	used    int   // how many of them it used
}

// local is an interface of a section.
type local struct {
	number  int // in Reader.interfaces
	snapLen uint32
	clock   clock
}

// next reads blocks up to the next packet.
func (s *sections) next(p *Packet) error {
	for {
		kind, block, err := s.block()
		if err != nil {
			return err
		}
		found := false
		switch kind {
		case blockSection:
			err = s.section(block)
		case blockInterface:
			err = s.addInterface(block)
		case blockEnhanced, blockPacket:
			found, err = true, s.enhanced(kind, block, p)
		case blockSimple:
			found, err = true, s.simple(block, p)
		case blockStats:
			s.stats(block)
		case blockSecrets:
			s.secrets(block)
		case blockNames:
			s.names(block)
		}
		if err != nil {
			return err
		}
		s.f.pos += int64(len(block))
		if found {
			return nil
		}
	}
}

// section begins a section. Its length is not needed.
func (s *sections) section(block []byte) error {
	s.local = s.local[:0]
	s.count++
	body := block[blockHead : len(block)-blockTail]
	if len(body) < 16 {
		return fmt.Errorf("section header of %d bytes: want at least %d", len(block), blockFrame+16)
	}
	major, minor := s.order.Uint16(body[4:]), s.order.Uint16(body[6:])
	if major != versionMajor || minor != versionMinor && minor != 2 { // 1.2 is 1.0, says the draft
		return fmt.Errorf("section of pcapng version %d.%d: want 1.0", major, minor)
	}
	if s.f.events.Comment != nil {
		s.options(body[16:], func(code uint16, value []byte) {
			if code == optComment {
				s.f.events.Comment(text(value))
			}
		})
	}
	return nil
}

// addInterface adds an interface of the section.
func (s *sections) addInterface(block []byte) error {
	body := block[blockHead : len(block)-blockTail]
	if len(body) < 8 {
		return fmt.Errorf("interface description of %d bytes: want at least %d", len(block), blockFrame+8)
	}
	i := Interface{LinkType: LinkType(s.order.Uint16(body)), SnapLen: s.order.Uint32(body[4:])}
	resolution, offset := uint8(resolutionMicro), int64(0)
	s.options(body[8:], func(code uint16, value []byte) {
		switch {
		case code == optName:
			i.Name = text(value)
		case code == optFilter && len(value) > 0 && value[0] == 0: // an expression; 1 is a program
			i.Filter = text(value[1:])
		case code == optResolution && len(value) == 1:
			resolution = value[0]
		case code == optOffset && len(value) == 8:
			offset = int64(s.order.Uint64(value))
		}
	})
	number := s.number(i)
	if number == MaxInterfaces {
		return fmt.Errorf("more than %d interfaces", MaxInterfaces)
	}
	s.local = append(s.local, local{number, i.SnapLen, newClock(resolution, offset)})
	return nil
}

// number returns the interface's index in the file: a new one, unless an earlier section had
// an interface of the same likeness.
func (s *sections) number(i Interface) int {
	like := likeness{i.Name, i.LinkType}
	ns := s.alike[like]
	if ns == nil {
		ns = new(numbers)
	}
	if ns.section != s.count {
		ns.section, ns.used = s.count, 0
	}
	if ns.used == len(ns.all) {
		if len(s.f.interfaces) == MaxInterfaces {
			return MaxInterfaces
		}
		ns.all = append(ns.all, len(s.f.interfaces))
		s.f.interfaces = append(s.f.interfaces, i)
		s.alike[like] = ns
		if s.f.events.Interface != nil {
			s.f.events.Interface(len(s.f.interfaces)-1, i)
		}
	}
	ns.used++
	return ns.all[ns.used-1]
}

// enhanced reads an EPB, or a PB, which has a count of drops in place of the upper half of the
// interface's number.
func (s *sections) enhanced(kind uint32, block []byte, p *Packet) error {
	body := block[blockHead : len(block)-blockTail]
	if len(body) < enhancedFixed {
		return fmt.Errorf("packet block of %d bytes: want at least %d", len(block), blockFrame+enhancedFixed)
	}
	id := s.order.Uint32(body)
	if kind == blockPacket {
		id = uint32(s.order.Uint16(body))
	}
	l, err := s.interfaceOf(id)
	if err != nil {
		return err
	}
	time := uint64(s.order.Uint32(body[4:]))<<32 | uint64(s.order.Uint32(body[8:]))
	p.Interface, p.Timestamp = l.number, l.clock.nanoseconds(time)
	rest, err := s.data(body[enhancedFixed:], s.order.Uint32(body[12:]), s.order.Uint32(body[16:]), p)
	if err != nil || len(rest) == 0 {
		return err
	}
	s.options(rest, func(code uint16, value []byte) {
		switch {
		case code == optFlags && len(value) == 4:
			if d := Direction(s.order.Uint32(value) & 3); d <= Outbound {
				p.Direction = d
			}
		case code == optComment:
			p.Comment = text(value)
		}
	})
	return nil
}

// simple reads an SPB: a packet of the section's first interface without a time, truncated to
// that interface's snapshot length.
func (s *sections) simple(block []byte, p *Packet) error {
	body := block[blockHead : len(block)-blockTail]
	if len(body) < 4 {
		return fmt.Errorf("packet block of %d bytes: want at least %d", len(block), blockFrame+4)
	}
	l, err := s.interfaceOf(0)
	if err != nil {
		return err
	}
	p.Interface = l.number
	length := s.order.Uint32(body)
	kept := length
	if l.snapLen != 0 {
		kept = min(kept, l.snapLen)
	}
	_, err = s.data(body[4:], kept, length, p)
	return err
}

func (s *sections) interfaceOf(id uint32) (*local, error) {
	if uint64(id) >= uint64(len(s.local)) {
		return nil, fmt.Errorf("packet of interface %d: want one of the %d that the section describes", id, len(s.local))
	}
	return &s.local[id], nil
}

// data sets the packet's bytes and length, and returns the bytes after them.
func (s *sections) data(b []byte, kept, length uint32, p *Packet) (rest []byte, err error) {
	if kept > MaxPacket {
		return nil, fmt.Errorf("packet of %d bytes: want at most %d", kept, MaxPacket)
	}
	if end := padded(int(kept)); end > len(b) {
		return nil, fmt.Errorf("packet of %d bytes in a block with %d bytes for it", kept, len(b))
	}
	p.Data, p.Len = b[:kept:kept], max(int(kept), int(length))
	return b[padded(int(kept)):], nil
}

// options calls each for every option in b, up to one that is longer than the rest of its
// block. libpcap does not read the options of packets: an invalid one must not lose a packet.
func (s *sections) options(b []byte, each func(code uint16, value []byte)) {
	for len(b) >= optionHead {
		code, n := s.order.Uint16(b), int(s.order.Uint16(b[2:]))
		b = b[optionHead:]
		if code == optEnd || padded(n) > len(b) {
			return
		}
		each(code, b[:n])
		b = b[padded(n):]
	}
}

func text(b []byte) string { return string(b[:min(len(b), maxText)]) }
