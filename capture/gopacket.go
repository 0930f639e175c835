package capture

import (
	"context"
	"io"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/rxring/rxring/ring"
)

var (
	_ gopacket.PacketDataSource         = (*Handle)(nil)
	_ gopacket.ZeroCopyPacketDataSource = (*Handle)(nil)
)

// ZeroCopyReadPacketData implements gopacket.ZeroCopyPacketDataSource: data lies
// in the ring, and is good until the next call. After Close it returns io.EOF.
func (h *Handle) ZeroCopyReadPacketData() (data []byte, ci gopacket.CaptureInfo, err error) {
	p, err := h.Next(context.Background())
	switch err {
	case nil:
		return p.Data, captureInfo(p), nil
	case ErrClosed:
		err = io.EOF
	}
	return nil, ci, err
}

// ReadPacketData implements gopacket.PacketDataSource: data is a copy.
func (h *Handle) ReadPacketData() (data []byte, ci gopacket.CaptureInfo, err error) {
	if data, ci, err = h.ZeroCopyReadPacketData(); err == nil {
		data = append([]byte(nil), data...)
		h.giveBack()
	}
	return data, ci, err
}

func captureInfo(p *ring.Frame) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{
		Timestamp:      time.Unix(p.Sec, p.Nsec),
		CaptureLength:  len(p.Data),
		Length:         p.Len,
		InterfaceIndex: int(p.From.Ifindex),
	}
}
