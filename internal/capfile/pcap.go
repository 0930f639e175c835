package capfile

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/gopacket/gopacket/pcapgo"
)

// Magic numbers of pcap files; the byte order is the writer's.
const (
	pcapMicro = 0xa1b2c3d4
	pcapNano  = 0xa1b23c4d
)

// Lengths in bytes.
const (
	pcapHeader = 24
	pcapRecord = 16 // before each packet
)

func isPcap(magic []byte) bool {
	for _, m := range []uint32{binary.LittleEndian.Uint32(magic), binary.BigEndian.Uint32(magic)} {
		if m == pcapMicro || m == pcapNano {
			return true
		}
	}
	return false
}

// openPcap returns what reads the packets of a pcap file.
func openPcap(f *Reader) (func(*Packet) error, error) {
	file, err := pcapgo.NewReader(f.r) // which takes f.r as its buffer
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("%w: the file ends within its header", ErrTruncated)
	}
	if err != nil {
		return nil, fmt.Errorf("file header: %w", err)
	}
	f.interfaces = []Interface{{LinkType: LinkType(file.LinkType()), SnapLen: file.Snaplen()}}
	f.pos = pcapHeader
	file.SetSnaplen(MaxPacket) // some writers pass their own
	return func(p *Packet) error {
		data, info, err := file.ZeroCopyReadPacketData()
		switch {
		case err == io.EOF && info.CaptureLength > 0: // after the record's header
			return ErrTruncated
		case err == io.EOF:
			return err
		case err != nil:
			return truncated(err)
		}
		p.Timestamp, p.Len, p.Data = info.Timestamp.UnixNano(), info.Length, data
		f.pos += pcapRecord + int64(len(data))
		return nil
	}, nil
}
