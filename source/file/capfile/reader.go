package capfile

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
)

// Packet is one packet of a file.
type Packet struct {
	Interface int    // its number in [Reader.Interfaces]
	Timestamp int64  // nanoseconds since the Unix epoch; 0: the file does not tell
	Len       int    // bytes that the packet had, of which Data is the beginning
	Data      []byte // good until the next call of Next
	Direction Direction
}

// Reader reads a capture file: pcap as libpcap reads it (micro- or nanoseconds,
// Kuznetzov's modified form, old versions), or pcapng with any number of sections
// and interfaces, of either byte order, plain or compressed by gzip or zstd. One goroutine at a time may use it, but for Offset.
type Reader struct {
	raw   counter
	limit Bounds
	r     *bufio.Reader
	name  string // of the compression; "": none
	end   func()
	read  func(*Packet) error // the format's
	pos   int64               // of the next record in what is read
	count int64               // packets so far
	err   error               // the one that ended it

	packet Packet // the latest, here so that it is not allocated
	large  []byte // what the buffer does not hold

	interfaces []Interface
}

// readBuffer is how much is read at once, in bytes. Packets in it are not copied.
const readBuffer = 1 << 18

// NewReader reads a file's header. Its error wraps [ErrFormat], [ErrTruncated], or
// is what r or the decompressor said.
func NewReader(r io.Reader) (*Reader, error) { return NewBoundedReader(r, Bounds{}) }

// NewBoundedReader is NewReader with limits. The errors of what exceeds them wrap
// [ErrTooLong], or are the context's.
func NewBoundedReader(r io.Reader, b Bounds) (*Reader, error) {
	f := &Reader{raw: counter{r: &bounded{r: r, b: Bounds{Context: b.Context}}}, limit: b}
	f.r = bufio.NewReaderSize(&f.raw, readBuffer)
	magic, err := f.peekMagic()
	if err != nil {
		return nil, err
	}
	plain, name, end, err := decompress(f.r, magic)
	if err != nil {
		return nil, err
	}
	f.name, f.end = name, end
	if err := f.open(plain, magic); err != nil {
		end()
		return nil, err
	}
	return f, nil
}

func (f *Reader) peekMagic() ([]byte, error) {
	magic, err := f.r.Peek(4)
	switch {
	case err == io.EOF && len(magic) == 0:
		return nil, fmt.Errorf("%w: the file is empty", ErrFormat)
	case err == io.EOF:
		return nil, fmt.Errorf("%w: the file has %d bytes", ErrFormat, len(magic))
	}
	return magic, err
}

// open finds out the format of what is not compressed any more.
func (f *Reader) open(plain io.Reader, magic []byte) (err error) {
	if f.name != "" {
		f.r = bufio.NewReaderSize(&bounded{r: plain, b: f.limit}, readBuffer)
		if magic, err = f.peekMagic(); err != nil {
			return fmt.Errorf("%s: %w", f.name, truncated(err))
		}
	}
	switch {
	case binary.LittleEndian.Uint32(magic) == blockSection:
		f.read = (&sections{f: f, alike: make(map[likeness]*numbers)}).next
		return nil
	case isPcap(magic):
		f.read, err = openPcap(f)
		return err
	}
	return fmt.Errorf("%w: begins with bytes % x", ErrFormat, magic)
}

// Next returns the following packet, or io.EOF behind the last one. Any other error
// is an [*Error]. An error is final: it comes again.
func (f *Reader) Next() (Packet, error) {
	if f.err != nil {
		return Packet{}, f.err
	}
	f.packet = Packet{}
	if err := f.read(&f.packet); err != nil {
		if err != io.EOF {
			err = &Error{Packets: f.count, Offset: f.pos, Compressed: f.name != "", Err: err}
		}
		f.err = err
		return Packet{}, err
	}
	f.count++
	return f.packet, nil
}

// bytes reads n bytes, which are good until the next read.
func (f *Reader) bytes(n int) ([]byte, error) {
	if n > readBuffer {
		return f.readLarge(n)
	}
	b, err := f.r.Peek(n)
	f.r.Discard(len(b)) // the bytes stay until the next read
	return b, err
}

// readLarge believes a length piece by piece, as the bytes come.
func (f *Reader) readLarge(n int) ([]byte, error) {
	f.large = f.large[:0]
	for len(f.large) < n {
		at := len(f.large)
		f.large = slices.Grow(f.large, min(n-at, readBuffer))[:at+min(n-at, readBuffer)]
		if _, err := io.ReadFull(f.r, f.large[at:]); err != nil {
			return nil, err
		}
	}
	return f.large, nil
}

// Interfaces lists the interfaces that the file has told of so far, in its order.
// A pcap file has one, without a name. One of a later section with the name and the
// link type of one before is the same: sections are what captures that were put
// behind each other, or interrupted, consist of.
func (f *Reader) Interfaces() []Interface { return slices.Clone(f.interfaces) }

// Compression is "gzip", "zstd" or "".
func (f *Reader) Compression() string { return f.name }

// Offset is how much of the file has been read, in bytes, for a progress bar. It
// may be called at any time.
func (f *Reader) Offset() int64 { return f.raw.n.Load() }

// Close frees what decompression holds. It does not close the file.
func (f *Reader) Close() {
	if f.err == nil {
		f.err = fmt.Errorf("capture file: %w", io.ErrClosedPipe)
	}
	f.end()
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}
