package verify

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// foreignPackets are other packets of a capture of streams. None is torn.
func foreignPackets() [][]byte {
	arp := make([]byte, 60)
	copy(arp, []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1})
	ack := headers{flow: 0, seq: 77}.frame(nil)
	padded := append(bytes.Clone(ack), make([]byte, 6)...)
	probe := dataAt(0, 99_999).frame([]byte{0})
	other := headers{flow: 900, seq: 5}.frame([]byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"))
	short := headers{flow: 901, seq: 5}.frame([]byte("hello"))
	quote := segment(0, 0, 500)
	quote[14+9] = protoICMP // its content quotes a packet
	fragment := headers{flow: 902}.frame(make([]byte, 100))
	fragment[14+6] = 0x20
	return [][]byte{arp, ack, padded, probe, other, short, quote, fragment, {}, {1, 2, 3}, arp[:14]}
}

func TestSoundPacketsAreNotTorn(t *testing.T) {
	tests := []struct {
		name    string
		packets [][]byte
		payload int64
		flows   int
	}{
		{"one segment", [][]byte{segment(0, 0, 65375)}, 1, 1},
		{"segments of several streams, out of order and repeated", [][]byte{
			segment(0, 65375, 65375), segment(1, 0, 65375), segment(0, 0, 65375), segment(0, 0, 1448), segment(1, 65375, 1),
		}, 5, 2},
		{"segments around foreign ones", append(append(foreignPackets(), segment(0, 0, 2000)), foreignPackets()...), 1, 1},
		{"segments with gaps, of any alignment", [][]byte{
			segment(3, 1, 1000), segment(3, 10_003, 31), segment(3, 7_000_000_005, 1448), segment(3, 6_999_000_017, 1448),
		}, 4, 1},
		{"a stream beyond 4 GiB", [][]byte{segment(3, 1<<32-100, 1448), segment(3, 1<<32+1348, 5)}, 2, 1},
		{"segments too short to tell, before one that tells", [][]byte{
			segment(2, 0, 7), segment(2, 7, 15), segment(2, 22, 1448), segment(2, 1470, 3),
		}, 4, 1},
		{"the largest that IPv4 can say", [][]byte{segment(0, 0, 65535-52)}, 1, 1},
		{"IPv6", [][]byte{headers{v6: true, seq: 1}.frame(content(0, 0, 1448))}, 1, 1},
		{"a VLAN tag in the frame", [][]byte{func() []byte {
			f := segment(0, 0, 1448)
			return append(append(bytes.Clone(f[:12]), 0x81, 0, 0, 5), f[12:]...)
		}()}, 1, 1},
		{"a frame with its checksum", [][]byte{append(segment(0, 0, 1448), 1, 2, 3, 4)}, 1, 1},
		{"an IP header checksum that is left to the card", [][]byte{func() []byte {
			f := segment(0, 0, 1448)
			f[24], f[25] = 0, 0
			return f
		}()}, 1, 1},
		{"a packet too large for the IP header to say", [][]byte{func() []byte {
			f := segment(0, 0, 100_000)
			f[16], f[17] = 0, 0
			setChecksum(f[14:34])
			return f
		}()}, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := read(t, ethernetCapture(tt.packets...))
			if err != nil {
				t.Fatal(err)
			}
			if r.Torn != 0 || r.Payload != tt.payload || r.Flows != tt.flows || r.Packets != int64(len(tt.packets)) {
				t.Errorf("%+v: want %d packets, %d with payload of %d flows, none torn", r, len(tt.packets), tt.payload, tt.flows)
			}
		})
	}
}

func TestTornPacketsAreFoundAndExplained(t *testing.T) {
	whole := func(flow int, offset uint64) []byte { return segment(flow, offset, 65375) }
	tests := []struct {
		name    string
		packets [][]byte
		torn    int64
		want    []string // the reasons
	}{
		{
			"two writers in one slot, the second overtakes in mid-packet",
			[][]byte{whole(0, 0), join(30066, whole(0, 65375), whole(1, 1<<20))},
			1, []string{"packet 2: 192.0.2.1:40000 > 192.0.2.2:12865: payload: bytes 30000 to 65374 are not those of stream 0 offset 95375: stream 1 offset 1078576 begins at byte 30000"},
		},
		{
			"headers of one packet over the content of another connection's",
			[][]byte{whole(0, 0), whole(0, 65375), whole(1, 0), join(66, whole(0, 130750), whole(1, 65375))},
			1, []string{"packet 4: 192.0.2.1:40000 > 192.0.2.2:12865: headers and content belong to different packets: content of stream 1 in a connection that carries stream 0 (by 2 packets)"},
		},
		{
			"headers of one packet over the content of an older one of the same connection",
			[][]byte{join(66, whole(0, 130750), whole(0, 65375)), whole(0, 0), whole(0, 65375)},
			1, []string{"packet 1: 192.0.2.1:40000 > 192.0.2.2:12865: headers and content belong to different packets: the sequence number is 65375 bytes away from the content's place in stream 0"},
		},
		{
			"content shifted by a byte within the packet",
			[][]byte{whole(0, 0), dataAt(0, 65375).frame(append(content(0, 65375, 1000), content(0, 66376, 500)...))},
			1, []string{"bytes 1000 to 1499 are not those of stream 0 offset 66375"},
		},
		{
			"content shifted by a byte as a whole",
			[][]byte{whole(0, 0), whole(0, 65375), dataAt(0, 130750).frame(content(0, 130751, 1448))},
			1, []string{"the sequence number is -1 bytes away"},
		},
		{
			"a stale tail of an older packet in the slot",
			[][]byte{whole(0, 0), join(60000, whole(0, 10*65375), whole(0, 0))},
			1, []string{"bytes 59934 to 65374 are not those of stream 0 offset 713684: stream 0 offset 59936 begins at byte 59936"},
		},
		{
			"a short packet's headers, and its length, over a long packet",
			[][]byte{whole(0, 0), join(66, segment(0, 65375, 0), whole(1, 0)[:66+5000])},
			1, []string{"packet 2: 192.0.2.1:40000 > 192.0.2.2:12865: stream 1 offset 0 begins 0 bytes after the end of the IP packet, whose header has a length of 52 bytes"},
		},
		{
			"a long packet's headers over a short packet",
			[][]byte{whole(0, 0), join(66, whole(0, 65375), segment(0, 65375, 65375)[:5066])},
			1, []string{"stream 0 offset 65375 under an IP header for 65427 bytes, in a packet with 5052 bytes for them"},
		},
		{
			"headers of something else over a stream's content",
			[][]byte{whole(0, 0), join(42, foreignPackets()[0], whole(0, 65375))},
			1, []string{"stream 0 offset 65376 begins at byte 67, but the headers are not those of a TCP segment"},
		},
		{
			"IP header of two packets",
			[][]byte{whole(0, 0), func() []byte { f := whole(0, 65375); f[14+5] ^= 1; return f }()},
			1, []string{"stream 0 offset 65375 under an IP header with a wrong checksum"},
		},
		{
			"content that is gone",
			[][]byte{whole(0, 0), dataAt(0, 65375).frame(make([]byte, 65375))},
			1, []string{"no block of any stream in a connection that carries stream 0"},
		},
		{
			"content of a short segment that is gone",
			[][]byte{whole(0, 0), dataAt(0, 65375).frame(make([]byte, 9))},
			1, []string{"9 bytes that are not those of the connection's stream"},
		},
		{
			"more torn packets than are described",
			func() (packets [][]byte) {
				for i := range uint64(12) {
					packets = append(packets, whole(0, i*65375), join(66, whole(0, i), whole(1, i*65375)))
				}
				return append(packets, whole(0, 12*65375))
			}(),
			12, []string{"packet 2: ", "packet 4: "},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := read(t, ethernetCapture(append(tt.packets, foreignPackets()...)...))
			if err != nil {
				t.Fatal(err)
			}
			if r.Torn != tt.torn {
				t.Errorf("%d torn packets, want %d", r.Torn, tt.torn)
			}
			if r.Payload != int64(len(tt.packets)) {
				t.Errorf("%d packets with payload, want %d", r.Payload, len(tt.packets))
			}
			for i, want := range tt.want {
				if i >= len(r.Tears) || !strings.Contains(r.Tears[i].String(), want) {
					t.Errorf("tears %v\nwant %q as number %d", r.Tears, want, i+1)
				}
			}
		})
	}
}

func TestSnapshotLengthCutsButDoesNotTear(t *testing.T) {
	for _, snaplen := range []int{0, 13, 14, 33, 34, 53, 54, 65, 66, 67, 82, 97, 98, 1514, 65440, 65441} {
		c := newCapture(binary.LittleEndian, pcapMicro, 1)
		first, second := segment(0, 0, 65375), segment(0, 65375, 65375)
		c.add(first, 0)
		c.add(second, len(second)-snaplen)
		r, err := read(t, c.Bytes())
		if err != nil || r.Torn != 0 {
			t.Errorf("cut to %d bytes: %+v, %v", snaplen, r, err)
		}
		if want := int64(len(first) + snaplen); r.Bytes != want {
			t.Errorf("cut to %d bytes: %d captured bytes, want %d", snaplen, r.Bytes, want)
		}
	}
}

func TestEveryFormatAndLinkTypeIsRead(t *testing.T) {
	h := dataAt(0, 0)
	body := content(0, 0, 1448)
	sll := append(make([]byte, 14), 8, 0)
	sll2 := append([]byte{8, 0}, make([]byte, 18)...)
	torn := append(bytes.Clone(body[:700]), content(1, 0, 748)...)
	packets := func(body []byte) map[uint32][]byte {
		ip := h.ip(body)
		return map[uint32][]byte{
			1: h.frame(body), 12: ip, 14: ip, 101: ip, 228: ip, 229: headers{v6: true}.ip(body),
			113: append(bytes.Clone(sll), ip...), 276: append(bytes.Clone(sll2), ip...),
		}
	}
	sound, bad := packets(body), packets(torn)
	check := func(t *testing.T, file []byte, what string, link uint32) {
		t.Helper()
		r, err := read(t, file)
		if err != nil || r.Packets != 2 || r.Payload != 2 || r.Torn != 1 {
			t.Errorf("%s, link type %d: %+v, %v: want 2 packets with payload, 1 torn", what, link, r, err)
		}
	}
	for link := range sound {
		for name, order := range map[string]binary.ByteOrder{"little-endian": binary.LittleEndian, "big-endian": binary.BigEndian} {
			for resolution, magic := range map[string]uint32{"microseconds": pcapMicro, "nanoseconds": pcapNano} {
				c := newCapture(order, magic, link)
				c.add(sound[link], 0)
				c.add(bad[link], 0)
				check(t, c.Bytes(), "pcap, "+name+", "+resolution, link)
			}
			ng := newPcapng(order, 1, uint16(link))
			ng.add(0, sound[1])
			ng.add(1, bad[link])
			check(t, ng.Bytes(), "pcapng, "+name, link)
		}
	}
}

func TestUnusableFilesAreExplained(t *testing.T) {
	whole := ethernetCapture(segment(0, 0, 1448), segment(0, 1448, 1448))
	ng := newPcapng(binary.LittleEndian, 1)
	ng.add(0, segment(0, 0, 1448))
	ng.add(0, segment(0, 1448, 1448))
	foreign := ethernetCapture(foreignPackets()[:5]...)
	wifi := newCapture(binary.LittleEndian, pcapMicro, 105)
	wifi.add([]byte{1, 2, 3}, 0)
	lies := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(lies[24+8:], 1<<31)

	tests := []struct {
		name     string
		file     []byte
		sentinel error
		message  string
		packets  int64
	}{
		{"an empty file", nil, ErrFormat, "verify: neither pcap nor pcapng: the file is empty", 0},
		{"three bytes", []byte{1, 2, 3}, ErrFormat, "the file has 3 bytes", 0},
		{"a text file", []byte("# notes\n"), ErrFormat, "verify: neither pcap nor pcapng: begins with bytes 23 20 6e 6f", 0},
		{"a capture compressed by xz", []byte("\xfd7zXZ\x00"), ErrFormat, "compressed by xz: decompress it first", 0},
		{"a compressed capture that is cut", gzipped(t, whole)[:60], ErrTruncated, "it ends within a packet", 0},
		{"a file header that is cut", whole[:20], ErrTruncated, "file header: it ends within a packet or a header", 0},
		{"a packet header that is cut", whole[:24+16+1514+5], ErrTruncated, "verify: after 1 whole packets, at byte 1554: it ends within a packet", 1},
		{"a packet that is cut", whole[:len(whole)-1], ErrTruncated, "after 1 whole packets, at byte 1554: it ends within a packet", 1},
		{"a packet of which only the header is there", whole[:24+16], ErrTruncated, "after 0 whole packets, at byte 24: it ends within a packet", 0},
		{"a pcapng packet that is cut", ng.Bytes()[:ng.Len()-5], ErrTruncated, "after 1 whole packets, at byte 1596: it ends within a packet", 1},
		{"a packet longer than any", lies, nil, "after 0 whole packets, at byte 24: packet of 2147483648 bytes: want at most 1048576", 0},
		{"foreign packets only", foreign, ErrNoPayload, "verify: 5 packets: no stream payload in any packet: capture the device that the streams run on", 5},
		{"no packets", whole[:24], ErrNoPayload, "0 packets: no stream payload", 0},
		{"wireless frames", wifi.Bytes(), nil, "link type 105 is not supported: capture Ethernet (1), raw IP (12, 14, 101, 228, 229) or Linux cooked packets (113, 276)", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := read(t, tt.file)
			if err == nil || !strings.Contains(err.Error(), tt.message) || tt.sentinel != nil && !errors.Is(err, tt.sentinel) {
				t.Errorf("error %v\nwant %q", err, tt.message)
			}
			if r.Packets != tt.packets {
				t.Errorf("%d packets, want %d", r.Packets, tt.packets)
			}
		})
	}

	t.Run("no file", func(t *testing.T) {
		if _, err := Files(filepath.Join(t.TempDir(), "missing.pcap")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "missing.pcap") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("errors name the file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "notes.txt")
		if err := os.WriteFile(path, []byte("# notes\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Files(path); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "notes.txt: neither pcap nor pcapng") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a reader's own error is passed on", func(t *testing.T) {
		r := io.MultiReader(bytes.NewReader(whole[:100]), failing{})
		if _, err := Reader(r); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func TestFilesReportsWhatReaderDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clean.pcap")
	if err := os.WriteFile(path, ethernetCapture(segment(0, 0, 1448)), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Files(path)
	if err != nil || r.Packets != 1 || r.Payload != 1 || r.PayloadBytes != 1448 || r.Bytes != 1514 || r.Torn != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestCompressedFilesAreChecked(t *testing.T) {
	r, err := Reader(bytes.NewReader(gzipped(t, ethernetCapture(segment(0, 0, 1448)))))
	if err != nil || r.Packets != 1 || r.Payload != 1 || r.Torn != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRotatedFilesAreOneCapture(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, file []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ng := newPcapng(binary.BigEndian, 1)
	ng.add(0, segment(0, 0, 1448))
	ng.add(0, segment(0, 1448, 1448))
	first := write("x.pcapng", ng.Bytes())
	// Consistent, but not at the connection's position.
	shifted := write("x1.pcap", ethernetCapture(foreignPackets()[0], dataAt(0, 2896).frame(content(0, 2897, 1448))))
	empty := write("x2.pcap", ethernetCapture())

	r, err := Files(first, shifted, empty)
	if err != nil || r.Packets != 4 || r.Payload != 3 || r.Flows != 1 || r.Torn != 1 {
		t.Fatalf("%+v, %v: want 4 packets, 3 with payload, of 1 flow, 1 torn", r, err)
	}
	if got, want := r.Tears[0].String(), shifted+": packet 2: "; !strings.HasPrefix(got, want) {
		t.Errorf("%s: want %s...", got, want)
	}
	r, err = Files(first, write("x3.pcap", ethernetCapture(segment(0, 0, 1448))[:100]), shifted)
	if !errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), "x3.pcap: after 0 whole packets, at byte 24") || r.Packets != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Files(empty); !errors.Is(err, ErrNoPayload) || !strings.Contains(err.Error(), "x2.pcap: 0 packets") {
		t.Errorf("error %v", err)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(ethernetCapture(append(foreignPackets(), segment(0, 0, 100), join(90, segment(1, 0, 100), segment(0, 0, 100)))...))
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		ng := newPcapng(order, 1, 101, 276)
		ng.add(0, segment(0, 0, 40))
		ng.add(1, dataAt(0, 40).ip(content(0, 40, 20)))
		ng.add(2, append([]byte{8, 0}, make([]byte, 40)...))
		for _, kind := range []uint32{2, 3, 4, 5, 10} { // packet, simple packet, names, statistics, secrets
			ng.block(kind, make([]byte, 40))
		}
		f.Add(ng.Bytes())
		c := newCapture(order, pcapNano, 113)
		c.add(append(append(make([]byte, 14), 0x86, 0xdd), headers{v6: true}.ip(content(0, 0, 50))...), 10)
		f.Add(c.Bytes())
	}
	f.Add([]byte("neither"))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := Reader(bytes.NewReader(file))
		compressed := len(file) > 1 && (file[0] == 0x1f && file[1] == 0x8b || file[0] == 0x28 && file[1] == 0xb5)
		if r.Torn > r.Payload || r.Payload > r.Packets || int64(len(r.Tears)) > r.Torn || r.Bytes > int64(len(file)) && !compressed {
			t.Errorf("%+v, %v", r, err)
		}
		if err == nil && r.Payload == 0 {
			t.Error("no payload and no error")
		}
	})
}

func BenchmarkReader(b *testing.B) {
	c := newCapture(binary.LittleEndian, pcapMicro, 1)
	for i := range uint64(200) {
		c.add(segment(int(i%4), i/4*65375, 65375), 0)
	}
	b.SetBytes(int64(c.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if r, err := Reader(bytes.NewReader(c.Bytes())); err != nil || r.Torn != 0 {
			b.Fatal(r, err)
		}
	}
}
