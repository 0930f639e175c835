// Package gopacketsource reads packets of a [capture.Handle] through gopacket's interfaces.
package gopacketsource

import (
	"context"
	"errors"
	"io"

	"github.com/gopacket/gopacket"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/ring"
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

func captureInfo(f *ring.Frame) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{
		Timestamp:      f.Time(),
		CaptureLength:  len(f.Data),
		Length:         f.Len,
		InterfaceIndex: int(f.From.Ifindex),
	}
}
