package capfile

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Section describes in a file's header where it was written. Empty strings are omitted.
type Section struct {
	Hardware, OS, Application string

	Comments []string // up to 768 KiB; the others are counted in a last one
}

// Writer writes a pcapng file, little-endian, with times in nanoseconds. It must
// not be used concurrently. After an error of the underlying writer every call returns it.
type Writer struct {
	w          *bufio.Writer
	interfaces []Interface
	scratch    [blockHead + enhancedFixed]byte
	tail       [3 + flagsOption + blockTail]byte // padding, options, length
	block      []byte                            // a block that is not a packet's, being built
}

// flagsOption is the length of an epb_flags option and the end of options.
const flagsOption = 2*optionHead + 4

// writerBuffer is the size of the write buffer, in bytes.
const writerBuffer = 1 << 18

// NewWriter begins a file on w. Writes are buffered until Flush.
func NewWriter(w io.Writer, s Section) (*Writer, error) {
	f := &Writer{w: bufio.NewWriterSize(w, writerBuffer)}
	return f, f.BeginSection(s)
}

// BeginSection begins another section. Interfaces are described again, from number 0 on.
func (f *Writer) BeginSection(s Section) error {
	f.interfaces = f.interfaces[:0]
	f.begin(blockSection)
	f.uint32(byteOrderMagic)
	f.uint16(versionMajor)
	f.uint16(versionMinor)
	f.uint64(unknownLength)
	options := []textOption{{optHardware, s.Hardware}, {optOS, s.OS}, {optApplication, s.Application}}
	if err := f.textOptions(append(options, commentOptions(s.Comments)...)); err != nil {
		return err
	}
	return f.end()
}

// maxComments bounds the comments of a section, in bytes: libpcap reads no section header of more than
// 1 MiB (BT_SHB_INSANE_MAX), and so nothing of the file.
const maxComments = 768 << 10

// commentOptions returns the comments for which there is room, and one that says how many are left out.
func commentOptions(comments []string) (options []textOption) {
	size := 0
	for i, c := range comments {
		if size += optionHead + padded(len(c)); size > maxComments {
			return append(options, textOption{optComment, fmt.Sprintf("%d of %d comments are left out: all together they may have %d bytes", len(comments)-i, len(comments), maxComments)})
		}
		options = append(options, textOption{optComment, c})
	}
	return options
}

// AddInterface describes an interface, and returns its number for packets and statistics: 0, 1
// and so on. Packets of others may precede it. It fails beyond [MaxInterfaces], for a text
// longer than an option, and with w's errors.
func (f *Writer) AddInterface(i Interface) (id int, err error) {
	id = len(f.interfaces)
	if id == MaxInterfaces {
		return 0, fmt.Errorf("interface %s: a file can have %d", i.Name, MaxInterfaces)
	}
	f.begin(blockInterface)
	f.uint16(uint16(i.LinkType))
	f.uint16(0)
	f.uint32(i.SnapLen)
	filter := i.Filter
	if filter != "" {
		filter = "\x00" + filter // if_filter's first byte: a libpcap expression
	}
	if err := f.textOptions([]textOption{{optName, i.Name}, {optDescription, i.Description}, {optFilter, filter}, {optResolution, string(rune(resolutionNano))}}); err != nil {
		return 0, err
	}
	if err := f.end(); err != nil {
		return 0, err
	}
	f.interfaces = append(f.interfaces, i)
	return id, nil
}

// WritePacket writes a packet of interface id that passed at ts, in nanoseconds
// since the Unix epoch. It had origLen bytes, of which data is the beginning. It
// keeps no reference to data and does not allocate. It refuses, with nothing written, an
// unknown interface, a time before the epoch, and invalid lengths.
func (f *Writer) WritePacket(id int, ts int64, origLen int, data []byte, d Direction) error {
	return f.WriteCommented(id, ts, origLen, data, d, "")
}

// WriteCommented is WritePacket with a comment, of which an option holds 65535 bytes; "": none.
func (f *Writer) WriteCommented(id int, ts int64, origLen int, data []byte, d Direction, comment string) error {
	if err := f.check(id, ts); err != nil {
		return err
	}
	if err := checkLengths(len(data), origLen); err != nil {
		return err
	}
	padding := padded(len(data)) - len(data)
	tail := f.tail[:padding]
	clear(tail)
	if d != DirectionUnknown {
		tail = appendOptionHead(tail, optFlags, 4)
		tail = binary.LittleEndian.AppendUint32(tail, uint32(d&3))
	}
	if comment != "" {
		tail = appendText(tail, optComment, comment[:min(len(comment), math.MaxUint16)])
	}
	if len(tail) > padding {
		tail = appendOptionHead(tail, optEnd, 0)
	}
	length := uint32(len(f.scratch) + len(data) + len(tail) + blockTail)
	tail = binary.LittleEndian.AppendUint32(tail, length)

	h := f.scratch[:]
	le := binary.LittleEndian
	le.PutUint32(h[0:], blockEnhanced)
	le.PutUint32(h[4:], length)
	le.PutUint32(h[8:], uint32(id))
	le.PutUint32(h[12:], uint32(ts>>32)) // the halves of a time, high one first
	le.PutUint32(h[16:], uint32(ts))
	le.PutUint32(h[20:], uint32(len(data)))
	le.PutUint32(h[24:], uint32(origLen))
	f.w.Write(h) // bufio keeps the first error and returns it from now on
	f.w.Write(data)
	_, err := f.w.Write(tail)
	return err
}

// Stats has an interface's counts since Start, at Time. Times are nanoseconds since the Unix
// epoch; a Start or End of 0 and nil counts are unknown, and not written.
type Stats struct {
	Time, Start, End int64

	Received  *uint64 // isb_ifrecv: packets that the interface received
	Dropped   *uint64 // isb_ifdrop: packets that it lost
	Accepted  *uint64 // isb_filteraccept: packets that the filter accepted
	OSDropped *uint64 // isb_osdrop: of those, the ones dropped because the ring was full
	Delivered *uint64 // isb_usrdeliv: those that the reader received

	Comment string // opt_comment; "": none
}

// WriteStats writes an interface's statistics. It can be called more than once for
// an interface; the last call counts.
func (f *Writer) WriteStats(id int, s Stats) error {
	for _, t := range []int64{s.Time, s.Start, s.End} {
		if err := f.check(id, t); err != nil {
			return err
		}
	}
	f.begin(blockStats)
	f.uint32(uint32(id))
	f.time(s.Time)
	for _, t := range []struct {
		code uint16
		at   int64
	}{{optStart, s.Start}, {optStop, s.End}} {
		if t.at != 0 {
			f.block = appendOptionHead(f.block, t.code, 8)
			f.time(t.at)
		}
	}
	for _, c := range []struct {
		code  uint16
		count *uint64
	}{{optReceived, s.Received}, {optDropped, s.Dropped}, {optAccepted, s.Accepted}, {optOSDropped, s.OSDropped}, {optDelivered, s.Delivered}} {
		if c.count != nil {
			f.block = appendOptionHead(f.block, c.code, 8)
			f.uint64(*c.count)
		}
	}
	if err := f.textOptions([]textOption{{optComment, s.Comment}}); err != nil {
		return err
	}
	return f.end()
}

// Flush writes the buffer to the underlying writer.
func (f *Writer) Flush() error { return f.w.Flush() }

func (f *Writer) check(id int, ts int64) error {
	if id < 0 || id >= len(f.interfaces) {
		return fmt.Errorf("interface %d: want one that AddInterface has returned, of %d", id, len(f.interfaces))
	}
	if ts < 0 {
		return fmt.Errorf("time of %d ns: want none before 1970", ts)
	}
	return nil
}

func checkLengths(kept, origLen int) error {
	if kept > MaxPacket || origLen < kept || uint64(origLen) > math.MaxUint32 {
		return fmt.Errorf("packet with %d of %d bytes: want at most %d, of as many or more", kept, origLen, MaxPacket)
	}
	return nil
}

// begin, end and the methods between build a block that is not a packet's.
func (f *Writer) begin(kind uint32) {
	f.block = f.block[:0]
	f.uint32(kind)
	f.uint32(0) // the length: end sets it
}

func (f *Writer) end() error {
	length := uint32(len(f.block) + blockTail)
	binary.LittleEndian.PutUint32(f.block[4:], length)
	f.uint32(length)
	_, err := f.w.Write(f.block)
	return err
}

func (f *Writer) uint16(v uint16) { f.block = binary.LittleEndian.AppendUint16(f.block, v) }
func (f *Writer) uint32(v uint32) { f.block = binary.LittleEndian.AppendUint32(f.block, v) }
func (f *Writer) uint64(v uint64) { f.block = binary.LittleEndian.AppendUint64(f.block, v) }

func (f *Writer) time(ts int64) {
	f.uint32(uint32(ts >> 32))
	f.uint32(uint32(ts))
}

type textOption struct {
	code uint16
	text string
}

// textOptions appends the options that are not empty, and the end of options.
func (f *Writer) textOptions(options []textOption) error {
	for _, o := range options {
		if o.text == "" {
			continue
		}
		if len(o.text) > math.MaxUint16 {
			return fmt.Errorf("text of %d bytes, beginning %.20q: a pcapng option holds %d", len(o.text), o.text, math.MaxUint16)
		}
		f.block = appendText(f.block, o.code, o.text)
	}
	f.block = appendOptionHead(f.block, optEnd, 0)
	return nil
}

// appendText appends an option of text, with its padding.
func appendText(b []byte, code uint16, text string) []byte {
	b = appendOptionHead(b, code, len(text))
	b = append(b, text...)
	return append(b, make([]byte, padded(len(text))-len(text))...)
}

func appendOptionHead(b []byte, code uint16, length int) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	return binary.LittleEndian.AppendUint16(b, uint16(length))
}
