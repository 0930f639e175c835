package capfile

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// PcapWriter writes a pcap file, little-endian, with times in nanoseconds. Such a file has one
// link type, and neither names of interfaces nor directions of packets: a [Writer] writes all
// of that. It must not be used concurrently. After an error of the underlying writer every call
// returns it.
type PcapWriter struct {
	w      *bufio.Writer
	link   LinkType
	begun  bool // the header is written
	record [pcapRecord]byte
}

// NewPcapWriter returns a writer of a file on w. The first AddInterface begins the file. Writes
// are buffered until Flush.
func NewPcapWriter(w io.Writer) *PcapWriter {
	return &PcapWriter{w: bufio.NewWriterSize(w, writerBuffer)}
}

// AddInterface sets the file's link type and snapshot length. Further interfaces must have the
// same link type. All have the number 0.
func (f *PcapWriter) AddInterface(i Interface) (id int, err error) {
	if f.begun {
		if i.LinkType != f.link {
			return 0, fmt.Errorf("interface %s has link type %v: a pcap file has one, here %v: want pcapng", i.Name, i.LinkType, f.link)
		}
		return 0, nil
	}
	f.begun, f.link = true, i.LinkType
	snapLen := i.SnapLen
	if snapLen == 0 {
		snapLen = MaxPacket
	}
	le := binary.LittleEndian
	h := le.AppendUint32(make([]byte, 0, pcapHeader), pcapNano)
	h = le.AppendUint16(le.AppendUint16(h, pcapMajor), pcapMinor)
	h = le.AppendUint64(h, 0) // time zone and accuracy, which are always 0
	h = le.AppendUint32(le.AppendUint32(h, snapLen), uint32(i.LinkType))
	_, err = f.w.Write(h)
	return 0, err
}

// WritePacket writes a packet that passed at ts, in nanoseconds since the Unix epoch, before
// 2106. It had origLen bytes, of which data is the beginning. It keeps no reference to data and
// does not allocate.
func (f *PcapWriter) WritePacket(_ int, ts int64, origLen int, data []byte, _ Direction) error {
	sec := ts / 1e9
	switch {
	case !f.begun:
		return fmt.Errorf("packet before AddInterface, which sets the link type")
	case ts < 0 || sec > math.MaxUint32:
		return fmt.Errorf("time of %d ns: want 1970 to 2105 in a pcap file", ts)
	}
	if err := checkLengths(len(data), origLen); err != nil {
		return err
	}
	le, h := binary.LittleEndian, f.record[:]
	le.PutUint32(h[0:], uint32(sec))
	le.PutUint32(h[4:], uint32(ts-sec*1e9))
	le.PutUint32(h[8:], uint32(len(data)))
	le.PutUint32(h[12:], uint32(origLen))
	f.w.Write(h) // bufio keeps the first error and returns it from now on
	_, err := f.w.Write(data)
	return err
}

// Flush writes the buffer to the underlying writer.
func (f *PcapWriter) Flush() error { return f.w.Flush() }
