package capfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
)

// Packet is one packet of a file.
type Packet struct {
	Interface int    // its number in [Reader.Interfaces]
	Timestamp int64  // nanoseconds since the Unix epoch; 0 if the file has none
	Len       int    // bytes that the packet had, of which Data is the beginning
	Data      []byte // valid until the next call of Next
	Direction Direction
	Comment   string // opt_comment, at most 4096 bytes of it; "": none
}

// Reader reads a capture file: pcap as libpcap reads it (micro- or nanoseconds,
// Kuznetzov's modified form, old versions), or pcapng with any number of sections
// and interfaces, of either byte order, plain or compressed by gzip or zstd. Only Offset may be
// called concurrently.
type Reader struct {
	raw    counter
	limit  Bounds
	buffer *bufio.Reader // of the file
	r      *bufio.Reader // buffer, or that of what it decompresses to
	live   bool          // see NewStreamReader
	name   string        // of the compression; "": none
	end    func()
	read   func(*Packet) error // the format's
	pos    int64               // of the next record in what is read
	count  int64               // packets so far
	err    error               // the one that ended it

	events Events

	packet Packet // the last one read, reused
	large  []byte // a packet that does not fit in the buffer

	interfaces []Interface
}

// readBuffer is the size of the read buffer, in bytes. Packets in it are not copied.
const readBuffer = 1 << 18

// NewReader reads a file's header. Its error wraps [ErrFormat] or [ErrTruncated], or is r's or
// the decompressor's.
func NewReader(r io.Reader) (*Reader, error) { return NewBoundedReader(r, Bounds{}) }

// NewBoundedReader is NewReader with limits. Beyond them errors wrap [ErrTooLong], or are the
// context's.
func NewBoundedReader(r io.Reader, b Bounds) (*Reader, error) { return newReader(r, b, false) }

// NewStreamReader is NewReader for what a program writes meanwhile: its errors say what that
// program should do.
func NewStreamReader(r io.Reader) (*Reader, error) { return newReader(r, Bounds{}, true) }

func newReader(r io.Reader, b Bounds, live bool) (*Reader, error) {
	f := &Reader{limit: b, live: live}
	f.buffer = bufio.NewReaderSize(nil, readBuffer)
	if err := f.Reset(r); err != nil {
		return nil, err
	}
	return f, nil
}

// Reset begins to read another file, within the same limits, with the memory that the Reader has.
// It keeps the [Events]. After an error only Reset and Close may be called.
func (f *Reader) Reset(r io.Reader) error {
	f.Close()
	f.raw.r = &bounded{r: r, b: Bounds{Context: f.limit.Context}}
	f.raw.n.Store(0)
	f.name, f.end, f.pos, f.count, f.interfaces = "", nil, 0, 0, f.interfaces[:0]
	f.r = f.buffer
	f.r.Reset(&f.raw)
	magic, err := f.peekMagic()
	if err != nil {
		return err
	}
	plain, name, end, err := decompress(f.r, magic)
	if err != nil {
		return err
	}
	f.name, f.end = name, end
	if err := f.open(plain, magic); err != nil {
		f.Close()
		return err
	}
	f.err = nil
	return nil
}

func (f *Reader) peekMagic() ([]byte, error) {
	magic, err := f.r.Peek(4)
	switch {
	case err == io.EOF && f.live && len(magic) == 0:
		return nil, f.formatError("the stream ended before its first byte")
	case err == io.EOF && f.live:
		return nil, f.formatError("the stream ended after %d bytes", len(magic))
	case err == io.EOF && len(magic) == 0:
		return nil, f.formatError("the file is empty")
	case err == io.EOF:
		return nil, f.formatError("the file has %d bytes", len(magic))
	}
	return magic, err
}

func (f *Reader) formatError(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if f.live {
		text += ": want a program that writes pcap or pcapng, such as tcpdump -U -w -"
	}
	return fmt.Errorf("%w: %s", ErrFormat, text)
}

// maxLine bounds what an error shows of a text that is no capture, in bytes.
const maxLine = 80

// firstLine returns the first line, quoted, if what is buffered begins with text.
func (f *Reader) firstLine() string {
	line, _ := f.r.Peek(min(f.r.Buffered(), maxLine))
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	line = bytes.TrimRight(line, "\r")
	for _, c := range line {
		if c < ' ' && c != '\t' || c > '~' {
			return ""
		}
	}
	if len(line) == 0 {
		return ""
	}
	return fmt.Sprintf(", the text %q", line)
}

// open detects the format of the decompressed file.
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
	return f.formatError("begins with bytes % x%s", magic, f.firstLine())
}

// Next returns the next packet, or io.EOF after the last one. Any other error is an [*Error].
// Further calls return the same error.
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

// bytes reads n bytes, which are valid until the next read.
func (f *Reader) bytes(n int) ([]byte, error) {
	if n > readBuffer {
		return f.readLarge(n)
	}
	b, err := f.r.Peek(n)
	f.r.Discard(len(b)) // the bytes stay until the next read
	return b, err
}

// readLarge allocates as the bytes are read, since the length may be wrong.
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

// Interfaces returns the interfaces described so far, in the order of the file. A pcap file has
// one, without a name. An interface of a later section with the name and the link type of an
// earlier one is the same: captures that were concatenated, or interrupted, have several
// sections.
func (f *Reader) Interfaces() []Interface { return slices.Clone(f.interfaces) }

// Compression returns "gzip", "zstd" or "".
func (f *Reader) Compression() string { return f.name }

// Offset returns how many bytes of the file have been read, for a progress bar. It may be
// called at any time.
func (f *Reader) Offset() int64 { return f.raw.n.Load() }

// Close frees the decompressor. It does not close the file.
func (f *Reader) Close() {
	if f.err == nil {
		f.err = fmt.Errorf("capture file: %w", io.ErrClosedPipe)
	}
	if f.end != nil {
		f.end()
		f.end = nil
	}
}

// counter counts the bytes that are read.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}
