package verify

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// ErrNoPayload says that a file is well but holds no packet of a stream.
var ErrNoPayload = errors.New("no stream payload in any packet: capture the device that the streams run on, with enough snapshot length (tcpdump -s 0)")

// ErrTruncated says that a file ends within a packet, as one does whose writer
// was killed.
var ErrTruncated = errors.New("file ends within a packet: let the capturing program end by itself or by SIGINT")

// ErrFormat says that a file is no capture.
var ErrFormat = errors.New("neither pcap nor pcapng")

// Files checks the capture files of one capture together, as those that tcpdump
// rotates: a connection may go on from file to file. Errors are those of
// [Reader], with the file's name, and those of opening one; files after it are
// not read.
func Files(paths ...string) (Report, error) {
	c := checker{flows: make(map[flowKey]*flow)}
	starts := make([]int64, len(paths)) // packets before each file
	err := error(nil)
	for i, path := range paths {
		starts[i] = c.report.Packets
		if err = c.file(path); err != nil {
			break
		}
	}
	report, noPayload := c.finish()
	for i, t := range report.Tears {
		file := sort.Search(len(starts), func(f int) bool { return starts[f] >= t.Packet }) - 1
		report.Tears[i].File, report.Tears[i].Packet = paths[file], t.Packet-starts[file]
	}
	if err == nil && noPayload != nil {
		err = fmt.Errorf("verify %s: %w", strings.Join(paths, ", "), noPayload)
	}
	return report, err
}

// Reader checks a capture, pcap or pcapng of either byte order, of Ethernet,
// raw IP or Linux cooked packets. It reads until the end and holds one packet
// in memory at a time, besides what is known of each connection.
//
// Its error wraps [ErrFormat], [ErrTruncated], [ErrNoPayload] or what r or the
// decoder said. The Report is that of the packets before the error.
func Reader(r io.Reader) (Report, error) {
	c := checker{flows: make(map[flowKey]*flow)}
	err := c.read(r)
	report, noPayload := c.finish()
	if err == nil {
		err = noPayload
	}
	if err != nil {
		err = fmt.Errorf("verify: %w", err)
	}
	return report, err
}

func (c *checker) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer f.Close()
	if err := c.read(f); err != nil {
		return fmt.Errorf("verify %s: %w", path, err)
	}
	return nil
}

// read judges the packets of one file.
func (c *checker) read(r io.Reader) error {
	next, err := open(r)
	if err != nil {
		return err
	}
	before := c.report.Packets
	for {
		link, data, original, err := next()
		if err == nil {
			err = c.packet(link, data, original)
		}
		switch err {
		case nil:
		case io.EOF:
			return nil
		default:
			return fmt.Errorf("after %d whole packets: %w", c.report.Packets-before, err)
		}
	}
}

// next returns the following packet, whose bytes are good until it is called
// again, or io.EOF.
type next func() (link layers.LinkType, data []byte, original int, err error)

const (
	pcapMicro  = 0xa1b2c3d4
	pcapNano   = 0xa1b23c4d
	pcapngMark = 0x0a0d0d0a // the same in both byte orders
)

// open finds out a file's format.
func open(r io.Reader) (next, error) {
	buffered := bufio.NewReaderSize(r, 1<<20)
	magic, err := buffered.Peek(4)
	switch {
	case err == io.EOF && len(magic) == 0:
		return nil, fmt.Errorf("%w: the file is empty", ErrFormat)
	case err == io.EOF:
		return nil, fmt.Errorf("%w: the file has %d bytes", ErrFormat, len(magic))
	case err != nil:
		return nil, err
	case magic[0] == 0x1f && magic[1] == 0x8b:
		return nil, fmt.Errorf("%w: compressed by gzip: decompress it first", ErrFormat)
	}
	switch little, big := binary.LittleEndian.Uint32(magic), binary.BigEndian.Uint32(magic); {
	case little == pcapngMark:
		return openPcapng(buffered)
	case little == pcapMicro, little == pcapNano, big == pcapMicro, big == pcapNano:
		return openPcap(buffered)
	}
	return nil, fmt.Errorf("%w: begins with bytes % x", ErrFormat, magic)
}

func openPcap(r io.Reader) (next, error) {
	file, err := pcapgo.NewReader(r)
	if err != nil {
		return nil, headerError(err)
	}
	return func() (layers.LinkType, []byte, int, error) {
		data, info, err := file.ZeroCopyReadPacketData()
		if err == io.EOF && info.CaptureLength > 0 {
			err = io.ErrUnexpectedEOF // after the record's header
		}
		return file.LinkType(), data, info.Length, recordError(err, info)
	}, nil
}

func openPcapng(r io.Reader) (next, error) {
	file, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if err != nil {
		return nil, headerError(err)
	}
	return func() (layers.LinkType, []byte, int, error) {
		data, info, err := file.ZeroCopyReadPacketData()
		if err != nil {
			return 0, nil, 0, recordError(err, info)
		}
		return info.AncillaryData[0].(layers.LinkType), data, info.Length, nil
	}, nil
}

func headerError(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: the file ends within its header", ErrTruncated)
	}
	return fmt.Errorf("file header: %w", err)
}

func recordError(err error, info gopacket.CaptureInfo) error {
	switch err {
	case nil, io.EOF:
		return err
	case io.ErrUnexpectedEOF:
		return ErrTruncated
	}
	return fmt.Errorf("packet header: %w", err)
}
