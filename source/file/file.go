package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
)

// File is a capture file that [Open] has read through. It has no open descriptor. Its methods
// may be called concurrently.
type File struct {
	path string
	info Info

	interfaces []capfile.Interface
	device     []int  // by interface: the device's index; -1: none
	unused     []bool // by interface: it had no packets and got no device
	devices    []kind
}

// Info describes a file's contents.
type Info struct {
	Size        int64 // of the file, in bytes
	Compression string
	Packets     int64
	Bytes       int64 // of packets, as captured
	Cut         int64 // packets that were truncated when they were captured

	// First and Last are the earliest and the latest time of a packet, in
	// nanoseconds since the Unix epoch; 0: no packet has one.
	First, Last int64

	// LeftOut has an error for each interface whose packets no device can show, with its
	// link type and those that are possible. Its packets are not replayed, but counted in
	// Packets and Bytes.
	LeftOut []error

	// Extras has what a pcapng file has besides packets. A reader of the devices does not see
	// it.
	Extras *capfile.Extras

	// Damage is the error that stops reading before the end of the file; nil if there is
	// none. Packets before it are replayed.
	Damage error
}

// Duration returns the time from First to Last.
func (i Info) Duration() time.Duration { return time.Duration(i.Last - i.First) }

// Info returns what the file contained when it was opened.
func (f *File) Info() Info { return f.info }

// Open reads a regular file through, until ctx ends. Its errors name the file: it cannot be
// opened, is no capture, is damaged before the first packet, describes no interface, has only
// packets that no device can show, or decompresses to more than 100 times its size and more
// than 4 GiB.
func Open(ctx context.Context, path string) (*File, error) {
	f := &File{path: path}
	if err := f.scan(ctx); err != nil {
		return nil, f.wrap(err)
	}
	return f, nil
}

// maxRatio bounds the decompressed size while a compressed file is read through, in multiples
// of its size. minBound bytes are always allowed; tests change it.
const maxRatio = 100

var minBound int64 = 4 << 30

// reading is a file that is being read.
type reading struct {
	file *os.File
	*capfile.Reader
}

func (f *File) open(b capfile.Bounds) (r reading, err error) {
	if r.file, err = os.Open(f.path); err != nil {
		return r, err
	}
	if r.Reader, err = capfile.NewBoundedReader(r.file, b); err != nil {
		r.file.Close()
	}
	return r, err
}

func (r reading) close() {
	r.Reader.Close()
	r.file.Close()
}

// scan reads the packets for their lengths.
func (f *File) scan(ctx context.Context) error {
	stat, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	if stat.IsDir() {
		return errors.New("it is a directory: want a capture file")
	}
	if !stat.Mode().IsRegular() {
		return fmt.Errorf("not a regular file (%v): want one that can be read twice: write what comes into a file first", stat.Mode().Type())
	}
	r, err := f.open(capfile.Bounds{Context: ctx, Decompressed: max(minBound, maxRatio*stat.Size())})
	if err != nil {
		return err
	}
	defer r.close()
	f.info = Info{Size: stat.Size(), Compression: r.Compression()}
	var longest [capfile.MaxInterfaces]int // packets, without their link-layer header
	var packets [capfile.MaxInterfaces]int64
	ins := r.Interfaces()
	f.info.Extras = new(capfile.Extras)
	var events capfile.Events
	f.info.Extras.Collect(&events, func(err error) { f.info.LeftOut = append(f.info.LeftOut, err) })
	r.SetEvents(events)
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil && (f.info.Packets == 0 || errors.Is(err, capfile.ErrTooLong) || ctx.Err() != nil) {
			return err
		}
		if err != nil {
			f.info.Damage = f.wrap(err)
			break
		}
		if p.Interface >= len(ins) {
			ins = r.Interfaces()
		}
		f.info.add(&p)
		packets[p.Interface]++
		longest[p.Interface] = max(longest[p.Interface], payload(ins[p.Interface].LinkType, &p))
	}
	f.interfaces = r.Interfaces()
	return f.plan(longest[:], packets[:])
}

func (i *Info) add(p *capfile.Packet) {
	i.Packets++
	i.Bytes += int64(len(p.Data))
	if p.Len > len(p.Data) {
		i.Cut++
	}
	if p.Timestamp <= 0 {
		return
	}
	if i.First == 0 {
		i.First = p.Timestamp
	}
	i.First, i.Last = min(i.First, p.Timestamp), max(i.Last, p.Timestamp)
}

// kind is a planned device.
type kind struct {
	name   string // of the interface
	link   *linktype.Link
	mtu    int
	maxLen int // longest packet, without its link-layer header: more than the MTU for segments
}
