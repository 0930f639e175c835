package capfile

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/rxring/rxring/internal/need"
)

// The directory testdata holds files that tcpdump (pcap), dumpcap, tshark and text2pcap (pcapng)
// wrote: but for raw.pcapng all of the same five frames, which veth pairs carried
// while all of them looked.

// readAll reads a file of packets whose bytes are kept.
func readAll(r io.Reader) (ps []Packet, ins []Interface, err error) {
	f, err := NewReader(r)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	for {
		p, err := f.Next()
		if err == io.EOF {
			return ps, f.Interfaces(), nil
		}
		if err != nil {
			return ps, f.Interfaces(), err
		}
		p.Data = bytes.Clone(p.Data)
		ps = append(ps, p)
	}
}

func readFile(t *testing.T, path string) ([]Packet, []Interface) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ps, ins, err := readAll(file)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return ps, ins
}

// frame is an Ethernet frame of a local experimental protocol, unlike all others.
func frame(n, length int) []byte {
	b := bytes.Repeat([]byte{byte(n), byte(n >> 8), 3}, length/3+1)[:length]
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
	return b
}

// build makes pcapng blocks of either byte order.
type build struct {
	bytes.Buffer
	order binary.AppendByteOrder
}

func ng(order binary.AppendByteOrder) *build {
	b := &build{order: order}
	return b.section(1, 0)
}

func (b *build) section(major, minor uint16) *build {
	body := b.order.AppendUint32(nil, byteOrderMagic)
	body = b.order.AppendUint16(body, major)
	body = b.order.AppendUint16(body, minor)
	return b.block(blockSection, b.order.AppendUint64(body, unknownLength))
}

func (b *build) block(kind uint32, body []byte) *build {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	out := b.order.AppendUint32(nil, kind)
	out = b.order.AppendUint32(out, uint32(len(body)+blockFrame))
	out = append(out, body...)
	b.Write(b.order.AppendUint32(out, uint32(len(body)+blockFrame)))
	return b
}

func (b *build) option(to []byte, code uint16, value ...byte) []byte {
	to = b.order.AppendUint16(to, code)
	to = b.order.AppendUint16(to, uint16(len(value)))
	to = append(to, value...)
	for len(to)%4 != 0 {
		to = append(to, 0)
	}
	return to
}

func (b *build) iface(link LinkType, snapLen uint32, options []byte) *build {
	body := b.order.AppendUint16(nil, uint16(link))
	body = b.order.AppendUint16(body, 0)
	return b.block(blockInterface, append(b.order.AppendUint32(body, snapLen), options...))
}

func (b *build) fixed(id uint32, time uint64, kept, length int) []byte {
	body := b.order.AppendUint32(nil, id)
	for _, v := range []uint32{uint32(time >> 32), uint32(time), uint32(kept), uint32(length)} {
		body = b.order.AppendUint32(body, v)
	}
	return body
}

func (b *build) packet(id uint32, time uint64, data []byte, options []byte) *build {
	body := append(b.fixed(id, time, len(data), len(data)), data...)
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	return b.block(blockEnhanced, append(body, options...))
}

func (b *build) flags(v uint32) []byte {
	return b.option(nil, optFlags, b.order.AppendUint32(nil, v)...)
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// convert makes another file of one, in a new directory, by a program.
func convert(t *testing.T, name string, program string, args ...string) string {
	t.Helper()
	need.Program(t, program)
	out := filepath.Join(t.TempDir(), name)
	for i, a := range args {
		if a == "OUT" {
			args[i] = out
		}
	}
	run(t, program, args...)
	return out
}

// sectionsAlike is a pcapng file whose sections all have the same interfaces, which
// share one name, and a packet of the last of them.
func sectionsAlike(sections, interfaces int) []byte {
	b := ng(binary.LittleEndian)
	for n := range sections {
		if n > 0 {
			b.section(1, 0)
		}
		for range interfaces {
			b.iface(LinkEthernet, 0, nil)
		}
		b.packet(uint32(interfaces-1), uint64(n), nil, nil)
	}
	return b.Bytes()
}
