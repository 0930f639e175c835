package capfile

import (
	"encoding/binary"
	"fmt"
	"io"
)

// maxBlock is the longest block that is read, in bytes, as in libpcap (MAX_BLOCKSIZE). Blocks
// of kinds that are skipped may be longer.
const maxBlock = 16 << 20

// block returns the next whole block of a kind that is read. It is valid until the next call.
func (s *sections) block() (kind uint32, block []byte, err error) {
	for {
		head, err := s.f.r.Peek(blockHead)
		if err == io.EOF && len(head) == 0 {
			return 0, nil, io.EOF
		}
		if err != nil {
			return 0, nil, truncated(err)
		}
		if binary.LittleEndian.Uint32(head) == blockSection {
			if err := s.setOrder(); err != nil {
				return 0, nil, err
			}
		}
		kind, length := s.order.Uint32(head), s.order.Uint32(head[4:])
		if length < blockFrame || length%4 != 0 {
			return 0, nil, fmt.Errorf("block of type %#x with a length of %d bytes: want at least %d, a multiple of 4", kind, length, blockFrame)
		}
		switch kind {
		case blockSection, blockInterface, blockPacket, blockSimple, blockEnhanced:
			block, err := s.whole(kind, length)
			return kind, block, err
		case blockStats, blockSecrets, blockNames:
			if s.wanted(kind) && length <= maxBlock {
				block, err := s.whole(kind, length)
				return kind, block, err
			}
		}
		if err := s.skip(length); err != nil {
			return 0, nil, err
		}
		s.f.pos += int64(length)
	}
}

// wanted reports whether there is an event for a kind of block.
func (s *sections) wanted(kind uint32) bool {
	e := &s.f.events
	return kind == blockStats && e.Stats != nil || kind == blockSecrets && e.Secrets != nil || kind == blockNames && e.Name != nil
}

// setOrder reads the byte order of the section that begins.
func (s *sections) setOrder() error {
	head, err := s.f.r.Peek(blockHead + 4)
	if err != nil {
		return truncated(err)
	}
	switch magic := head[blockHead:]; uint32(byteOrderMagic) {
	case binary.LittleEndian.Uint32(magic):
		s.order = binary.LittleEndian
	case binary.BigEndian.Uint32(magic):
		s.order = binary.BigEndian
	default:
		return fmt.Errorf("section with byte-order magic % x: want %#x in either order", magic, byteOrderMagic)
	}
	return nil
}

func (s *sections) whole(kind, length uint32) ([]byte, error) {
	if length > maxBlock {
		return nil, fmt.Errorf("block of type %#x with %d bytes: want at most %d", kind, length, maxBlock)
	}
	n := int(length)
	block, err := s.f.bytes(n)
	if err != nil {
		return nil, truncated(err)
	}
	if again := s.order.Uint32(block[n-blockTail:]); again != length {
		return nil, fmt.Errorf("block of type %#x with %d bytes says at its end that it has %d", kind, length, again)
	}
	return block, nil
}

func (s *sections) skip(length uint32) error {
	for left := int64(length); left > 0; { // an int may have 32 bits
		n, err := s.f.r.Discard(int(min(left, maxBlock)))
		if err != nil {
			return truncated(err)
		}
		left -= int64(n)
	}
	return nil
}
