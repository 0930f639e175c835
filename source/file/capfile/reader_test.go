package capfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rxring/rxring/internal/need"
)

// captured are the lengths of the five frames and when they passed.
var captured = []struct {
	at     int64
	length int
}{
	{1795811020_459970611, 60},
	{1795811020_500560688, 67},
	{1795811020_536383678, 74},
	{1795811020_588351990, 81},
	{1795811020_636579595, 88},
}

// wantCaptured checks a device's packets against the five frames, of which the
// first cut bytes were kept, 0: all, with times in units.
func wantCaptured(t *testing.T, ps []Packet, cut int, unit int64) {
	t.Helper()
	if len(ps) != len(captured) {
		t.Fatalf("%d packets, want %d", len(ps), len(captured))
	}
	for i, p := range ps {
		c := captured[i]
		want := make([]byte, c.length)
		copy(want, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
		for k := 14; k < len(want); k++ {
			want[k] = byte(i)
		}
		if cut != 0 {
			want = want[:cut]
		}
		if p.Timestamp != c.at/unit*unit || p.Len != c.length || !bytes.Equal(p.Data, want) {
			t.Errorf("packet %d: %d of %d bytes at %d: % x, want %d of %d at %d", i, len(p.Data), p.Len, p.Timestamp, p.Data, len(want), c.length, c.at/unit*unit)
		}
	}
}

func TestFilesOfTcpdump(t *testing.T) {
	for name, c := range map[string]struct {
		cut  int
		unit int64
		snap uint32
	}{
		"micro.pcap": {0, 1000, 262144},
		"nano.pcap":  {0, 1, 262144},
		"cut.pcap":   {40, 1000, 40},
	} {
		t.Run(name, func(t *testing.T) {
			ps, ins := readFile(t, filepath.Join("testdata", name))
			wantCaptured(t, ps, c.cut, c.unit)
			if want := []Interface{{LinkType: LinkEthernet, SnapLen: c.snap}}; !reflect.DeepEqual(ins, want) {
				t.Errorf("interfaces %v, want %v", ins, want)
			}
		})
	}
	if _, ins := readFile(t, "testdata/cooked.pcap"); len(ins) != 1 || ins[0].LinkType != LinkLinuxSLL2 {
		t.Errorf("cooked.pcap has %v", ins)
	}
}

func TestFileOfDumpcapHasTwoInterfaces(t *testing.T) {
	ps, ins := readFile(t, "testdata/two.pcapng")
	want := []Interface{
		{Name: "vb", LinkType: LinkEthernet, SnapLen: 262144, Filter: ""},
		{Name: "vd", LinkType: LinkEthernet, SnapLen: 262144, Filter: "ether proto 0x88b5"},
	}
	if !reflect.DeepEqual(ins, want) {
		t.Errorf("interfaces %+v, want %+v", ins, want)
	}
	var first []Packet
	for _, p := range ps {
		if p.Interface == 0 {
			first = append(first, p)
		}
	}
	wantCaptured(t, first, 0, 1)
	if len(ps) != 10 {
		t.Errorf("%d packets", len(ps))
	}
}

func TestCompressedFilesAndOtherFormatsOfTheSamePackets(t *testing.T) {
	micro, nano, err := "testdata/micro.pcap", "testdata/nano.pcap", error(nil)
	for name, c := range map[string]struct {
		unit int64
		make func(t *testing.T) string
	}{
		"gzip of two members": {1000, func(t *testing.T) string {
			plain, err2 := os.ReadFile(micro)
			out := filepath.Join(t.TempDir(), "members.gz")
			err = errors.Join(err2, os.WriteFile(out, append(gzipped(t, plain[:100]), gzipped(t, plain[100:])...), 0o600))
			return out
		}},
		"editcap's nanosecond pcap": {1, func(t *testing.T) string {
			return convert(t, "n.pcap", "editcap", "-F", "nsecpcap", "testdata/tshark.pcapng", "OUT")
		}},
		"editcap's pcapng of pcap": {1000, func(t *testing.T) string { return convert(t, "m.pcapng", "editcap", "-F", "pcapng", micro, "OUT") }},
		"gzip program":             {1, func(t *testing.T) string { return compressBy(t, nano, "gzip", "-9c") }},
		"zstd program":             {1, func(t *testing.T) string { return compressBy(t, nano, "zstd", "-19c") }},
		"zstd with a long window":  {1, func(t *testing.T) string { return compressBy(t, "testdata/tshark.pcapng", "zstd", "--long=27 -c") }},
	} {
		t.Run(name, func(t *testing.T) {
			path := c.make(t)
			if err != nil {
				t.Fatal(err)
			}
			ps, _ := readFile(t, path)
			wantCaptured(t, ps, 0, c.unit)
		})
	}
}

func compressBy(t *testing.T, path, program, flags string) string {
	out := filepath.Join(t.TempDir(), "compressed")
	text := run(t, program, append(strings.Fields(flags), path)...)
	if err := os.WriteFile(out, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSectionsBehindEachOther(t *testing.T) {
	var all bytes.Buffer
	for _, name := range []string{"two.pcapng", "tshark.pcapng", "raw.pcapng", "two.pcapng"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	ps, ins, err := readAll(&all)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for _, p := range ps {
		counts[ins[p.Interface].Name+" "+ins[p.Interface].LinkType.String()]++
	}
	raw := ins[2].Name + " raw IP (101)"
	if want := map[string]int{"vb Ethernet (1)": 15, "vd Ethernet (1)": 10, raw: 2}; !reflect.DeepEqual(counts, want) {
		t.Errorf("packets %v, want %v", counts, want)
	}
}

func TestBlocksOfEitherByteOrder(t *testing.T) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		t.Run(order.String(), func(t *testing.T) {
			b := ng(order)
			data := frame(7, 61)
			b.iface(LinkEthernet, 20, append(b.option(nil, optName, []byte("eth0")...), b.option(nil, optResolution, 9)...))
			b.iface(LinkIPv4, 0, nil)                         // no resolution: microseconds
			b.block(4, bytes.Repeat([]byte{1}, 3*readBuffer)) // names, which no event needs
			b.packet(0, 5, data, append(b.option(nil, 1, []byte("a comment")...), b.flags(2)...))
			b.packet(1, 1<<33+1, data[:1], b.flags(0xffff0001))
			b.block(blockSimple, append(order.AppendUint32(nil, 61), data[:20]...))
			old := b.fixed(0, 6, len(data), 99)
			order.AppendUint16(old[:0], 1)       // interface 1
			order.AppendUint16(old[2:2], 0xffff) // drops
			b.block(blockPacket, append(old, data...))
			ps, ins, err := readAll(&b.Buffer)
			if err != nil {
				t.Fatal(err)
			}
			if want := []Interface{{Name: "eth0", LinkType: LinkEthernet, SnapLen: 20}, {LinkType: LinkIPv4}}; !reflect.DeepEqual(ins, want) {
				t.Errorf("interfaces %+v, want %+v", ins, want)
			}
			want := []Packet{
				{0, 5, 61, data, Outbound, "a comment"},
				{1, (1<<33 + 1) * 1000, 1, data[:1], Inbound, ""},
				{0, 0, 61, data[:20], 0, ""},
				{1, 6000, 99, data, 0, ""},
			}
			if !reflect.DeepEqual(ps, want) {
				t.Errorf("packets\n%+v, want\n%+v", ps, want)
			}
		})
	}
}

func TestPcapOfEitherByteOrder(t *testing.T) {
	plain, err := os.ReadFile("testdata/nano.pcap")
	if err != nil {
		t.Fatal(err)
	}
	// The same file as a big-endian machine writes it.
	swap := func(b []byte, width int) {
		for i := 0; i < len(b); i += width {
			for k := range width / 2 {
				b[i+k], b[i+width-1-k] = b[i+width-1-k], b[i+k]
			}
		}
	}
	swap(plain[:4], 4)
	swap(plain[4:8], 2)
	swap(plain[8:24], 4)
	for at := 24; at < len(plain); {
		n := int(binary.LittleEndian.Uint32(plain[at+8:]))
		swap(plain[at:at+16], 4)
		at += 16 + n
	}
	ps, _, err := readAll(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	wantCaptured(t, ps, 0, 1)
}

func TestTimes(t *testing.T) {
	const minute = 60
	for name, c := range map[string]struct {
		resolution uint8
		offset     int64
		time       uint64
		want       int64
	}{
		"seconds":                        {0, 0, 7, 7e9},
		"microseconds":                   {6, 0, 7_000001, 7e9 + 1000},
		"nanoseconds":                    {9, 0, 7, 7},
		"picoseconds":                    {12, 0, 7_000_000_001_999, 7e9 + 1},
		"10^-19 s":                       {19, 0, 15_000_000_000_000_000_000, 1_500_000_000},
		"10^-20 s":                       {20, 0, 15_000_000_000_000_000_000, 150_000_000},
		"10^-28 s":                       {28, 0, math.MaxUint64, 1},
		"10^-127 s":                      {127, 0, math.MaxUint64, 0},
		"2^0 s":                          {0x80, 0, 7, 7e9},
		"2^-10 s":                        {0x8a, 0, 7<<10 + 512, 7_500_000_000},
		"2^-32 s, as NTP":                {0xa0, 0, 7<<32 + 3<<30, 7_750_000_000},
		"2^-63 s":                        {0xbf, 0, 1<<63 + 1<<62, 1_500_000_000},
		"2^-64 s":                        {0xc0, 0, 1 << 63, 500_000_000},
		"2^-70 s":                        {0xc6, 0, 1 << 63, 500_000_000 / 64},
		"2^-127 s":                       {0xff, 0, math.MaxUint64, 0},
		"an offset":                      {6, minute, 7_000001, 67e9 + 1000},
		"a negative offset":              {6, -minute, 7_000001, -53e9 + 1000},
		"later than an int64 holds":      {0, 0, math.MaxUint64, math.MaxInt64},
		"an offset beyond all times":     {9, math.MaxInt64, 7, math.MaxInt64},
		"an offset before all times":     {9, math.MinInt64, 7, math.MinInt64},
		"both beyond":                    {0, math.MaxInt64, math.MaxUint64, math.MaxInt64},
		"the last second that there is":  {0, 0, maxSeconds, maxSeconds * 1e9},
		"one more than the last second":  {0, 0, maxSeconds + 1, math.MaxInt64},
		"times with all bits: 10^-6 s":   {6, 0, math.MaxUint64, math.MaxInt64},
		"times with all bits: 2^-32 s":   {0xa0, 0, math.MaxUint64, (1<<32-1)*1e9 + 999_999_999},
		"times with all bits: 10^-9 s":   {9, 0, math.MaxUint64, math.MaxInt64},
		"times with all bits: 10^-19 s ": {19, 0, math.MaxUint64, 1_844_674_407},
	} {
		if got := newClock(c.resolution, c.offset).nanoseconds(c.time); got != c.want {
			t.Errorf("%s: %d ns, want %d", name, got, c.want)
		}
	}
}

func TestTimesInAFileAreTsharks(t *testing.T) {
	need.Time(t, "it runs tshark often")
	b := ng(binary.BigEndian)
	offset := b.option(nil, optOffset, 0, 0, 0, 0, 0, 0, 0, 9)
	for _, resolution := range []byte{0, 3, 6, 8, 9, 0x80 + 10, 0x80 + 20, 0x80 + 30} {
		b.iface(LinkEthernet, 0, append(b.option(nil, optResolution, resolution), offset...))
	}
	for id := range uint32(8) {
		b.packet(id, 1_234_567_890_987>>(id%3), frame(1, 60), nil)
	}
	path := filepath.Join(t.TempDir(), "times.pcapng")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ps, _ := readFile(t, path)
	want := strings.Fields(run(t, "tshark", "-r", path, "-T", "fields", "-e", "frame.time_epoch"))
	if len(want) != len(ps) {
		t.Fatalf("%d packets, tshark has %d", len(ps), len(want))
	}
	for i, p := range ps {
		// Packet 0 is of the year 41097: further than nanoseconds in an int64 go.
		if got := formatTime(p.Timestamp); got != want[i] && i != 0 {
			t.Errorf("packet %d at %s, tshark says %s", i, got, want[i])
		}
	}
	if ps[0].Timestamp != math.MaxInt64 {
		t.Errorf("packet 0 at %d", ps[0].Timestamp)
	}
}

// A hostile file may have any number of sections, each with all the interfaces that
// can be, of one name.
func TestSectionsOfManyInterfacesAlike(t *testing.T) {
	const sections = 64
	ps, ins, err := readAll(bytes.NewReader(sectionsAlike(sections, MaxInterfaces)))
	if err != nil || len(ps) != sections || len(ins) != MaxInterfaces {
		t.Fatalf("%d packets of %d interfaces, error %v", len(ps), len(ins), err)
	}
	for i, p := range ps {
		if p.Interface != MaxInterfaces-1 {
			t.Errorf("packet %d is of interface %d", i, p.Interface)
		}
	}
}

// What an interface costs must not depend on how many a section has.
func BenchmarkSectionsAlike(b *testing.B) {
	for _, interfaces := range []int{1, 32, MaxInterfaces} {
		b.Run(fmt.Sprint(interfaces), func(b *testing.B) {
			sections := 8 * MaxInterfaces / interfaces
			file := sectionsAlike(sections, interfaces)
			for b.Loop() {
				if _, _, err := readAll(bytes.NewReader(file)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*sections*interfaces), "ns/interface")
		})
	}
}

func TestWhatWriterWritesReaderReads(t *testing.T) {
	ps, ins := readFile(t, writeSample(t))
	if want := []Interface{
		{Name: "net0", LinkType: LinkEthernet, SnapLen: 96, Filter: "tcp port 80"},
		{Name: "tun5", LinkType: LinkRaw},
	}; !reflect.DeepEqual(ins, want) {
		t.Errorf("interfaces %+v, want %+v", ins, want)
	}
	if len(ps) != 5 {
		t.Fatalf("%d packets", len(ps))
	}
	for i, p := range ps[:4] {
		if p.Interface != 0 || p.Timestamp != 1700000000_000000001+int64(i) || p.Len != 1000+i || len(p.Data) != 60+i || p.Data[59] != byte(i) || p.Direction != Direction(i%3) {
			t.Errorf("packet %d: %+v", i, p)
		}
	}
	if p := ps[4]; p.Interface != 1 || p.Direction != Outbound || len(p.Data) != 21 {
		t.Errorf("packet 4: %+v", p)
	}
}

func TestReadingAPacketAllocatesNothing(t *testing.T) {
	for _, name := range []string{"pcap", "pcapng"} {
		var file bytes.Buffer
		if name == "pcap" {
			pcapOf(t, &file, 5000)
		} else {
			b := ng(binary.LittleEndian)
			b.iface(LinkEthernet, 0, nil)
			for n := range 5000 {
				b.packet(0, uint64(n), frame(n, 100), b.flags(1))
			}
			file = b.Buffer
		}
		r, err := NewReader(&file)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(4000, func() {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a packet", name, n)
		}
	}
}

func pcapOf(t testing.TB, to io.Writer, packets int) {
	t.Helper()
	le := binary.LittleEndian
	b := le.AppendUint32(nil, pcapMicro)
	b = le.AppendUint32(b, 2|4<<16) // version 2.4
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, 65535)
	b = le.AppendUint32(b, uint32(LinkEthernet))
	for n := range packets {
		b = le.AppendUint32(b, uint32(n))
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, 100)
		b = le.AppendUint32(b, 100)
		b = append(b, frame(n, 100)...)
	}
	if _, err := to.Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestOffsetGoesToTheEndOfTheFile(t *testing.T) {
	plain, err := os.ReadFile("testdata/two.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range [][]byte{plain, gzipped(t, plain), zstded(t, plain)} {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = r.Next()
		}
		if err != io.EOF || r.Offset() != int64(len(file)) {
			t.Errorf("%q: offset %d of %d, error %v", r.Compression(), r.Offset(), len(file), err)
		}
		if _, again := r.Next(); again != io.EOF {
			t.Errorf("%q: error %v after the end", r.Compression(), again)
		}
		r.Close()
	}
}
