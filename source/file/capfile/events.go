package capfile

import "encoding/binary"

// Events are calls that [Reader.Next] makes when it reads something other than a packet. They
// are in the order of the file. A nil function is not called.
type Events struct {
	// Interface is called when an interface is described, with its number, before any of its
	// packets is returned.
	Interface func(number int, i Interface)

	// Stats is called with an interface's number and statistics (an ISB). Counts are since
	// the interface's capture began; the last call for an interface is valid.
	Stats func(number int, s Stats)

	// Comment is called with each comment of a section, of at most 4096 bytes.
	Comment func(string)

	Secrets func(Secrets)
	Name    func(Name)
}

// SetEvents sets the functions that later calls of Next call. A pcap file's interface is
// described already: see [Reader.Interfaces].
func (f *Reader) SetEvents(e Events) { f.events = e }

// stats reads an ISB. An invalid one is ignored: it must not lose packets.
func (s *sections) stats(block []byte) {
	body := block[blockHead : len(block)-blockTail]
	if len(body) < 12 {
		return
	}
	l, err := s.interfaceOf(s.order.Uint32(body))
	if err != nil {
		return
	}
	time := func(b []byte) int64 {
		return l.clock.nanoseconds(uint64(s.order.Uint32(b))<<32 | uint64(s.order.Uint32(b[4:])))
	}
	st := Stats{Time: time(body[4:])}
	s.options(body[12:], func(code uint16, value []byte) {
		if len(value) != 8 {
			return
		}
		switch code {
		case optStart:
			st.Start = time(value)
		case optStop:
			st.End = time(value)
		case optReceived:
			st.Received = count(s.order, value)
		case optDropped:
			st.Dropped = count(s.order, value)
		case optAccepted:
			st.Accepted = count(s.order, value)
		case optOSDropped:
			st.OSDropped = count(s.order, value)
		case optDelivered:
			st.Delivered = count(s.order, value)
		}
	})
	s.f.events.Stats(l.number, st)
}

func count(order binary.ByteOrder, value []byte) *uint64 {
	n := order.Uint64(value)
	return &n
}
