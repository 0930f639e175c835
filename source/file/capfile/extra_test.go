package capfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rxring/rxring/internal/need"
)

var extra = Extra{
	Comments: []string{"first", "second, of several lines\nlike this"},
	Secrets:  []Secrets{{0x544c534b, []byte("CLIENT_RANDOM 00 11\n")}, {0x57474b4c, []byte{1, 2, 3, 4, 5}}},
	Names: []Name{
		{netip.MustParseAddr("192.0.2.1"), []string{"a.example"}},
		{netip.MustParseAddr("2001:db8::1"), []string{"b.example", "c.example.org"}},
	},
}

// readExtra reads a file's extras, and counts its packets.
func readExtra(t *testing.T, r io.Reader) (e Extra, packets int) {
	t.Helper()
	f, err := NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.SetEvents(Events{
		Comment: func(c string) { e.Comments = append(e.Comments, c) },
		Secrets: func(s Secrets) { e.Secrets = append(e.Secrets, s) },
		Name:    func(n Name) { e.Names = append(e.Names, n) },
	})
	packets, err = countAll(f)
	if err != io.EOF {
		t.Fatal(err)
	}
	return e, packets
}

func TestExtrasAreReadAsTheyAreWritten(t *testing.T) {
	need.Time(t, "it runs tshark")
	var file bytes.Buffer
	w, err := NewWriter(&file, Section{Comments: extra.Comments})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteExtra(extra); err != nil {
		t.Fatal(err)
	}
	id, err := w.AddInterface(Interface{Name: "net0", LinkType: LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	data := append(bytes.Repeat([]byte{2}, 12), 0x08, 0x00)
	data = append(data, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2)
	if err := w.WritePacket(id, 1, len(data), data, Inbound); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, n := readExtra(t, &file); n != 1 || !reflect.DeepEqual(got, extra) {
		t.Errorf("%d packets, %+v", n, got)
	}
	if out := run(t, "capinfos", path); !strings.Contains(out, "first") || !strings.Contains(out, "Number of packets:   1\n") || !strings.Contains(out, "decryption secrets in file: 2") {
		t.Error(out)
	}
	if out := run(t, "tshark", "-r", path, "-N", "n", "-T", "fields", "-e", "ip.src_host"); strings.TrimSpace(out) != "a.example" {
		t.Error(out)
	}
}

// Invalid blocks of these kinds lose no packet, in either byte order.
func TestInvalidExtras(t *testing.T) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		b := ng(order).iface(LinkEthernet, 0, nil)
		u16, u32 := order.AppendUint16, order.AppendUint32
		b.block(blockSecrets, append(u32(u32(nil, 7), 2), 8, 9, 0, 0))
		b.block(blockSecrets, u32(u32(nil, 7), 1))                                                // a byte that is not there
		b.block(blockSecrets, u32(u32(nil, 7), 1<<32-1))                                          // many
		b.block(blockSecrets, u32(nil, 7))                                                        // no length
		b.block(blockNames, append(u16(u16(nil, 1), 6), 192, 0, 2, 9, 'a', 0, 0, 0, 0, 9, 0, 99)) // an unknown record, and its value is cut off
		b.block(blockNames, u16(u16(nil, 1), 4))
		b.block(blockNames, append(u16(u16(nil, 1), 4), 192, 0, 2, 9)) // no name
		b.packet(0, 1, frame(1, 60), nil)
		want := Extra{Secrets: []Secrets{{7, []byte{8, 9}}}, Names: []Name{{netip.MustParseAddr("192.0.2.9"), []string{"a"}}}}
		if got, n := readExtra(t, &b.Buffer); n != 1 || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %d packets, %+v", order, n, got)
		}
	}
}

// A record of names whose last name does not end is invalid: with its end it might be too long to be
// written again.
func TestANameThatDoesNotEnd(t *testing.T) {
	for length, want := range map[int]int{math.MaxUint16: 1, math.MaxUint16 - 1: 1, 9: 1, 8: 2} {
		var names []Name
		var x Extras
		var events Events
		x.Collect(&events, func(err error) { t.Error(err) })
		record := func(b []byte) []byte {
			b = append(appendOptionHead(nil, recordIPv4, len(b)), b...)
			return append(b, make([]byte, padded(len(b))-len(b))...)
		}
		var file bytes.Buffer
		w, err := NewWriter(&file, Section{})
		if err == nil {
			w.begin(blockNames)
			w.block = append(w.block, record(append([]byte{192, 0, 2, 1}, "first\x00"...))...)
			last := append([]byte{192, 0, 2, 2}, bytes.Repeat([]byte("x"), length-4)...)
			if length == 8 {
				last[7] = 0
			}
			w.block = append(w.block, record(last)...)
			err = w.end()
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(&file)
		if err != nil {
			t.Fatal(err)
		}
		r.SetEvents(events)
		if _, err := r.Next(); err != io.EOF {
			t.Error(err)
		}
		r.Close()
		if names = x.Since(new(ExtraMark)).Names; len(names) != want {
			t.Errorf("last record of %d bytes: %d names, want %d", length, len(names), want)
		}
		if w, err := NewWriter(io.Discard, Section{}); err != nil || w.WriteExtra(Extra{Names: names}) != nil {
			t.Errorf("last record of %d bytes: it cannot be written", length)
		}
	}
}

// What several sources have besides packets may be more than a reader accepts in a block: names are
// divided among several, and comments that have no room are counted.
func TestExtrasOfSeveralSources(t *testing.T) {
	need.Time(t, "it runs tshark")
	var e Extra
	const names, comments = 400, 3000
	for n := range names {
		e.Names = append(e.Names, Name{netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), []string{strings.Repeat("x", 60000)}})
	}
	for n := range comments {
		e.Comments = append(e.Comments, fmt.Sprintf("%04096d", n))
	}
	var file bytes.Buffer
	w, err := NewWriter(&file, Section{Hardware: strings.Repeat("h", 60000), OS: strings.Repeat("o", 60000), Application: strings.Repeat("a", 60000), Comments: e.Comments})
	if err == nil {
		err = w.WriteExtra(e)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	for b := file.Bytes(); len(b) > 0; {
		n := int(binary.LittleEndian.Uint32(b[4:]))
		if n > maxNames+1<<16+blockFrame || binary.LittleEndian.Uint32(b) == blockSection && n > 1<<20 {
			t.Errorf("block of type %#x with %d bytes", binary.LittleEndian.Uint32(b), n)
		}
		b = b[n:]
	}
	r, err := NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got Extra
	r.SetEvents(Events{
		Comment: func(text string) { got.Comments = append(got.Comments, text) },
		Name:    func(n Name) { got.Names = append(got.Names, n) },
	})
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	if !reflect.DeepEqual(got.Names, e.Names) {
		t.Errorf("%d names, want %d", len(got.Names), names)
	}
	kept := len(got.Comments) - 1
	if want := fmt.Sprintf("%d of %d comments are left out: all together they may have %d bytes", comments-kept, comments, maxComments); kept < 100 || !slices.Equal(got.Comments[:kept], e.Comments[:kept]) || got.Comments[kept] != want {
		t.Errorf("%d comments, the last is %.100q, want %q", len(got.Comments), got.Comments[kept], want)
	}
}
