package verify

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/rxring/rxring/source/file/capfile"
)

// ErrNoPayload is returned for a valid capture without a packet of a stream.
var ErrNoPayload = errors.New("no stream payload in any packet: capture the device that the streams run on, with enough snapshot length (tcpdump -s 0)")

// ErrTruncated is returned for a file that ends within a packet, and ErrFormat for one
// that is no capture.
var (
	ErrTruncated = capfile.ErrTruncated
	ErrFormat    = capfile.ErrFormat
)

// Files checks the files of one capture together, such as those that tcpdump rotates:
// a connection may continue in the next file. Errors are those of [Reader] and of
// opening a file, with the file's name; later files are not read.
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

// Reader checks a capture, pcap or pcapng of either byte order, plain or compressed
// by gzip or zstd, of Ethernet, raw IP or Linux cooked packets. It reads until the
// end and keeps one packet in memory at a time, and a bounded state of each
// connection.
//
// Its error wraps [ErrFormat], [ErrTruncated], [ErrNoPayload] or an error of r or the
// decoder. The Report is that of the packets before the error.
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
		return fmt.Errorf("verify %s: %w: want a capture that this user can read, such as rxring run -- tcpdump -i net0 -w FILE writes", path, reason(err))
	}
	defer f.Close()
	if err := c.read(f); err != nil {
		return fmt.Errorf("verify %s: %w", path, reason(err))
	}
	return nil
}

// reason returns err without the path, which the message already contains.
func reason(err error) error {
	if p := new(os.PathError); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// read checks the packets of one file.
func (c *checker) read(r io.Reader) error {
	file, err := capfile.NewReader(r)
	if err != nil {
		return err
	}
	defer file.Close()
	before := c.report.Packets
	ins := file.Interfaces()
	for {
		p, err := file.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Interface >= len(ins) {
			ins = file.Interfaces()
		}
		if err := c.packet(ins[p.Interface].LinkType, p.Data, p.Len); err != nil {
			return fmt.Errorf("after %d whole packets: %w", c.report.Packets-before, err)
		}
	}
}
