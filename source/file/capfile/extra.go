package capfile

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
)

// Extra is what a pcapng file has besides interfaces and packets.
type Extra struct {
	Comments []string // of its sections
	Secrets  []Secrets
	Names    []Name
}

// Secrets decrypt packets of a file (a DSB).
type Secrets struct {
	Type uint32 // such as 0x544c534b, a TLS key log
	Data []byte
}

// Name has the names of an address (a record of an NRB).
type Name struct {
	Addr  netip.Addr
	Names []string
}

// Records of an NRB.
const (
	recordEnd  = 0
	recordIPv4 = 1
	recordIPv6 = 2
)

// secrets reads a DSB. An invalid one is ignored: it must not lose packets.
func (s *sections) secrets(block []byte) {
	body := block[blockHead : len(block)-blockTail]
	if s.f.events.Secrets == nil || len(body) < 8 || uint64(s.order.Uint32(body[4:])) > uint64(len(body)-8) {
		return
	}
	s.f.events.Secrets(Secrets{s.order.Uint32(body), bytes.Clone(body[8 : 8+s.order.Uint32(body[4:])])})
}

// names reads an NRB, up to an invalid record.
func (s *sections) names(block []byte) {
	if s.f.events.Name == nil {
		return
	}
	for b := block[blockHead : len(block)-blockTail]; len(b) >= optionHead; {
		kind, n := s.order.Uint16(b), int(s.order.Uint16(b[2:]))
		b = b[optionHead:]
		if kind == recordEnd || padded(n) > len(b) {
			return
		}
		size := map[uint16]int{recordIPv4: 4, recordIPv6: 16}[kind]
		if size > 0 && n > size {
			if b[n-1] != 0 { // each name ends with a zero byte; with another one, the record may be too long to be written
				return
			}
			name := Name{}
			name.Addr, _ = netip.AddrFromSlice(b[:size])
			for _, text := range bytes.Split(bytes.TrimRight(b[size:n], "\x00"), []byte{0}) {
				name.Names = append(name.Names, string(text))
			}
			s.f.events.Name(name)
		}
		b = b[padded(n):]
	}
}

// maxNames is the length in bytes at which another block of names begins. libpcap reads none, and
// nothing behind one, of more than 16 MiB (MAX_BLOCKSIZE).
const maxNames = 1 << 20

// WriteExtra writes secrets and names. A file's comments are part of its [Section].
func (f *Writer) WriteExtra(e Extra) error {
	for _, s := range e.Secrets {
		f.begin(blockSecrets)
		f.uint32(s.Type)
		f.uint32(uint32(len(s.Data)))
		f.block = append(f.block, s.Data...)
		f.pad()
		if err := f.end(); err != nil {
			return err
		}
	}
	if len(e.Names) == 0 {
		return nil
	}
	f.begin(blockNames)
	for _, n := range e.Names {
		if len(f.block) >= maxNames {
			f.block = appendOptionHead(f.block, recordEnd, 0)
			if err := f.end(); err != nil {
				return err
			}
			f.begin(blockNames)
		}
		value := n.Addr.AsSlice()
		for _, name := range n.Names {
			value = append(append(value, name...), 0)
		}
		if len(value) > math.MaxUint16 {
			return fmt.Errorf("names of %v: %d bytes: a record holds %d", n.Addr, len(value), math.MaxUint16)
		}
		kind := uint16(recordIPv6)
		if n.Addr.Is4() {
			kind = recordIPv4
		}
		f.block = append(appendOptionHead(f.block, kind, len(value)), value...)
		f.pad()
	}
	f.block = appendOptionHead(f.block, recordEnd, 0)
	return f.end()
}

// pad pads the block that is being built.
func (f *Writer) pad() {
	for len(f.block)%4 != 0 {
		f.block = append(f.block, 0)
	}
}
