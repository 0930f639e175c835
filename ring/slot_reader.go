package ring

import (
	"unsafe"

	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/tpacket"
)

// slotReader is a Reader's part for rings of slots.
type slotReader struct {
	slots.Slots
	memory  Memory  // keeps it reachable, as long as a Frame is
	slot    uint32  // the next
	address uintptr // where a slot has its sockaddr_ll
}

func newSlotReader(m Memory, g tpacket.Geometry) (*slotReader, error) {
	s, err := slots.New(m.Bytes(), g)
	if err != nil {
		return nil, err
	}
	return &slotReader{Slots: s, memory: m, address: uintptr(tpacket.Align(g.Version.HeaderSize()))}, nil
}

func (rd *slotReader) ready() bool { return rd.Status(rd.slot) != tpacket.StatusKernel }

func (rd *slotReader) next(f *Frame) bool {
	slot := rd.slot
	status := rd.Status(slot)
	if status == tpacket.StatusKernel {
		return false
	}
	// The memory is shared: each word of it is read once, and offsets are bounded
	// before they are used.
	p := unsafe.Pointer(unsafe.SliceData(rd.Frame(slot)))
	if rd.Wide() {
		h := (*tpacket.Header1)(p)
		f.sec, f.nsec = h.Sec, h.Usec*1000
		f.VLANTCI, f.VLANTPID = 0, 0
		f.Len = int(h.Len)
		f.setData(p, rd.Geo.FrameSize, uint32(h.Mac), uint32(h.Net), h.Snaplen)
	} else {
		h := (*tpacket.Header2)(p)
		f.sec, f.nsec = h.Sec, h.Nsec
		f.VLANTCI, f.VLANTPID = uint32(h.VLANTCI), h.VLANTPID
		f.Len = int(h.Len)
		f.setData(p, rd.Geo.FrameSize, uint32(h.Mac), uint32(h.Net), h.Snaplen)
	}
	f.Status, f.Hash = status, 0
	f.From = *(*tpacket.SockaddrLL)(unsafe.Add(p, rd.address))
	f.slot, f.slots, f.blocks = slot, rd, nil
	rd.slot++
	if rd.slot == rd.Geo.FrameNr {
		rd.slot = 0
	}
	return true
}
