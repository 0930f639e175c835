// Package gopacketsource reads packets of a [capture.Handle] through gopacket's interfaces.
package gopacketsource

import (
	"context"
	"errors"
	"io"

	"github.com/gopacket/gopacket"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

var (
	_ gopacket.PacketDataSource         = Source{}
	_ gopacket.ZeroCopyPacketDataSource = Source{}
)

// Source is a gopacket.PacketDataSource and a gopacket.ZeroCopyPacketDataSource.
// Like its handle, it has one reader at a time. Closing the handle ends it: reading
// then returns io.EOF.
type Source struct {
	h *capture.Handle
}

// New returns a source that reads from h.
func New(h *capture.Handle) Source { return Source{h} }

// ZeroCopyReadPacketData implements gopacket.ZeroCopyPacketDataSource. Data lies in
// the ring and is valid until the next call.
func (s Source) ZeroCopyReadPacketData() (data []byte, ci gopacket.CaptureInfo, err error) {
	f, err := s.next()
	if err != nil {
		return nil, ci, err
	}
	return f.Data, captureInfo(f), nil
}

// ReadPacketData implements gopacket.PacketDataSource. Data is a copy.
func (s Source) ReadPacketData() (data []byte, ci gopacket.CaptureInfo, err error) {
	f, err := s.next()
	if err != nil {
		return nil, ci, err
	}
	defer f.Release()
	return append([]byte(nil), f.Data...), captureInfo(f), nil
}

func (s Source) next() (*ring.Frame, error) {
	f, err := s.h.Next(context.Background())
	if errors.Is(err, capture.ErrClosed) {
		return nil, io.EOF
	}
	return f, err
}

// AncillaryVLAN is in the AncillaryData of a packet whose VLAN tag Linux keeps beside its bytes.
// It has the field of the type of that name in gopacket's package afpacket, and more.
type AncillaryVLAN struct {
	VLAN int    // the VLAN's number, 0 to 4095
	TPID uint16 // 0x8100, or 0x88a8 for a service tag; 0: not known
	TCI  uint16 // priority, DEI and number
}

// vidMask is VLAN_VID_MASK (linux/if_vlan.h).
const vidMask = 0x0fff

func captureInfo(f *ring.Frame) gopacket.CaptureInfo {
	ci := gopacket.CaptureInfo{
		Timestamp:      f.Time(),
		CaptureLength:  len(f.Data),
		Length:         f.Len,
		InterfaceIndex: int(f.From.Ifindex),
	}
	if f.Status&tpacket.StatusVLANValid != 0 {
		tag := AncillaryVLAN{VLAN: int(f.VLANTCI & vidMask), TCI: uint16(f.VLANTCI)}
		if f.Status&tpacket.StatusVLANTPID != 0 {
			tag.TPID = f.VLANTPID
		}
		ci.AncillaryData = []any{tag}
	}
	return ci
}
