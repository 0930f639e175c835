package capfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

func formatTime(ns int64) string { return fmt.Sprintf("%d.%09d", ns/1e9, ns%1e9) }

func TestWhatIsNoCapture(t *testing.T) {
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"nothing":                   {nil, "the file is empty"},
		"three bytes":               {[]byte("abc"), "the file has 3 bytes"},
		"text":                      {[]byte("hello, world"), "begins with bytes 68 65 6c 6c"},
		"xz":                        {[]byte("\xfd7zXZ\x00"), "compressed by xz: decompress it first, or use gzip or zstd"},
		"bzip2":                     {[]byte("BZh91AY"), "compressed by bzip2"},
		"lz4":                       {[]byte("\x04\x22\x4d\x18abc"), "compressed by lz4"},
		"text in gzip":              {gzipped(t, []byte("hello, world")), "begins with bytes 68 65 6c 6c"},
		"nothing in gzip":           {gzipped(t, nil), "the file is empty"},
		"gzip in zstd":              {zstded(t, gzipped(t, []byte("hello, world"))), "begins with bytes 1f 8b"},
		"little-endian wrong magic": {[]byte{0xd4, 0xc3, 0xb2, 0xa2, 0, 0}, "begins with bytes d4 c3 b2 a2"},
	} {
		_, err := NewReader(bytes.NewReader(c.file))
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, c.want)
		}
	}
}

// A file that was cut ends where its last whole packet does, with an error that says
// so, wherever the cut is.
func TestFilesCutAnywhere(t *testing.T) {
	for _, name := range []string{"micro.pcap", "two.pcapng", "gzip", "zstd"} {
		t.Run(name, func(t *testing.T) {
			path := "testdata/" + name
			if name == "gzip" || name == "zstd" {
				path = "testdata/two.pcapng"
			}
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all, _, err := readAll(bytes.NewReader(whole))
			if err != nil {
				t.Fatal(err)
			}
			switch name {
			case "gzip":
				whole = gzipped(t, whole)
			case "zstd":
				whole = zstded(t, whole)
			}
			ends := 0 // cuts between packets or blocks, which cannot be noticed
			for cut := 4; cut < len(whole); cut++ {
				ps, _, err := readAll(bytes.NewReader(whole[:cut]))
				switch {
				case err == nil:
					ends++
				case !errors.Is(err, ErrTruncated):
					t.Errorf("cut at %d: error %v", cut, err)
				}
				for i, p := range ps {
					if p.Timestamp != all[i].Timestamp || !bytes.Equal(p.Data, all[i].Data) {
						t.Fatalf("cut at %d: packet %d is %+v, was %+v", cut, i, p, all[i])
					}
				}
			}
			blocks := map[string]int{"micro.pcap": 5, "two.pcapng": 15 - 1}[name]
			if ends != blocks {
				t.Errorf("%d cuts were the end of a packet or a block, want %d", ends, blocks)
			}
		})
	}
}

func TestBlocksThatCannotBe(t *testing.T) {
	le := binary.LittleEndian
	iface := func() *build { return ng(le).iface(LinkEthernet, 0, nil) }
	raw := func(b *build, words ...uint32) *build {
		for _, w := range words {
			b.Write(le.AppendUint32(nil, w))
		}
		return b
	}
	many := ng(le)
	for range MaxInterfaces + 1 {
		many.iface(LinkEthernet, 0, nil)
	}
	for name, c := range map[string]struct {
		file *build
		want string
	}{
		"a length of nothing":                {raw(iface(), 6, 0), "block of type 0x6 with a length of 0 bytes: want at least 12"},
		"a length that is not aligned":       {raw(iface(), 6, 33), "length of 33 bytes"},
		"a huge packet block":                {raw(iface(), 6, 0xfffffffc), "block of type 0x6 with 4294967292 bytes: want at most 16777216"},
		"a huge block of no interest":        {raw(iface(), 0xbad, 0xfffffffc), "it ends within a packet"},
		"lengths that differ":                {raw(iface(), 6, 32, 0, 0, 0, 0, 0, 36), "with 32 bytes says at its end that it has 36"},
		"a packet block without its fields":  {iface().block(blockEnhanced, make([]byte, 16)), "packet block of 28 bytes: want at least 32"},
		"a simple packet without its length": {iface().block(blockSimple, nil), "packet block of 12 bytes"},
		"an interface without its fields":    {ng(le).block(blockInterface, nil), "interface description of 12 bytes"},
		"a section without its fields":       {raw(ng(le), blockSection, 20, byteOrderMagic, 0, 20), "section header of 20 bytes"},
		"a section of another version":       {ng(le).section(2, 0), "pcapng version 2.0: want 1.0"},
		"a section of a later version":       {ng(le).section(1, 3), "pcapng version 1.3: want 1.0"},
		"a section of no byte order":         {raw(ng(le), blockSection, 28, 0x12345678, 0, 0, 0, 28), "byte-order magic 78 56 34 12"},
		"more bytes than the block has":      {iface().block(blockEnhanced, ng(le).fixed(0, 0, 5, 5)), "packet of 5 bytes in a block with 0 bytes for it"},
		"more bytes than a packet can have":  {iface().block(blockEnhanced, ng(le).fixed(0, 0, MaxPacket+1, 5)), "packet of 1048577 bytes: want at most 1048576"},
		"an unknown interface":               {iface().block(blockEnhanced, ng(le).fixed(1, 0, 0, 0)), "packet of interface 1: want one of the 1 that the section describes"},
		"an interface of the section before": {iface().section(1, 0).block(blockEnhanced, ng(le).fixed(0, 0, 0, 0)), "packet of interface 0: want one of the 0 that the section describes"},
		"a simple packet of no interface":    {ng(le).block(blockSimple, make([]byte, 4)), "packet of interface 0"},
		"more interfaces than can be":        {many, "more than 1024 interfaces"},
	} {
		_, _, err := readAll(&c.file.Buffer)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", name, err, c.want)
		}
	}
}

func TestErrorsSayWhere(t *testing.T) {
	file := ng(binary.LittleEndian).iface(LinkEthernet, 0, nil)
	file.packet(0, 0, frame(1, 60), nil).block(4, make([]byte, 400)).packet(0, 0, frame(2, 60), nil)
	at := file.Len()
	file.packet(9, 0, nil, nil)
	for name, b := range map[string][]byte{"": file.Bytes(), " of what it decompresses to": gzipped(t, file.Bytes())} {
		_, _, err := readAll(bytes.NewReader(b))
		if want := fmt.Sprintf("after 2 whole packets, at byte %d%s: packet of interface 9", at, name); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	plain, err := os.ReadFile("testdata/micro.pcap")
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(plain[24+16+60+8:], 1<<31) // how much of packet 1 was kept
	_, _, err = readAll(bytes.NewReader(plain))
	if want := "after 1 whole packets, at byte 100: packet of 2147483648 bytes: want at most 1048576"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

// What the header says of the longest packet is not believed: some writers pass it,
// and a hostile one allows itself everything.
func TestPacketsOfPcapAreBoundedByMaxPacketAlone(t *testing.T) {
	for _, snapLen := range []uint32{96, 1<<32 - 1} {
		for _, n := range []int{300000, MaxPacket, MaxPacket + 1} {
			var file bytes.Buffer
			pcapOf(t, &file, 0)
			le := binary.LittleEndian
			le.PutUint32(file.Bytes()[16:], snapLen)
			file.Write(le.AppendUint32(le.AppendUint32(make([]byte, 8), uint32(n)), uint32(n)))
			file.Write(frame(1, n))
			ps, _, err := readAll(&file)
			if n <= MaxPacket && (err != nil || len(ps) != 1 || !bytes.Equal(ps[0].Data, frame(1, n))) {
				t.Errorf("%d bytes under a snapshot length of %d: %d packets, error %v", n, snapLen, len(ps), err)
			}
			if n > MaxPacket && (err == nil || !strings.Contains(err.Error(), "packet of 1048577 bytes: want at most 1048576")) {
				t.Errorf("%d bytes under a snapshot length of %d: error %v", n, snapLen, err)
			}
		}
	}
}

func TestCorruptCompressionIsAnError(t *testing.T) {
	var plain bytes.Buffer
	pcapOf(t, &plain, 1000)
	z := gzipped(t, plain.Bytes())
	z[len(z)-6] ^= 1 // the checksum
	if _, _, err := readAll(bytes.NewReader(z)); err == nil || !strings.Contains(err.Error(), "after 1000 whole packets") || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("error %v", err)
	}
	if _, err := NewReader(bytes.NewReader([]byte{0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9})); err == nil || !strings.HasPrefix(err.Error(), "gzip: ") {
		t.Errorf("error %v", err)
	}
}

func TestBlocksLongerThanTheBuffer(t *testing.T) {
	b := ng(binary.LittleEndian).iface(LinkEthernet, 0, nil)
	want := frame(3, MaxPacket)
	b.packet(0, 1, want, b.flags(1)).packet(0, 2, want[:100], nil)
	ps, _, err := readAll(&b.Buffer)
	if err != nil || len(ps) != 2 || !bytes.Equal(ps[0].Data, want) || ps[0].Direction != Inbound || !bytes.Equal(ps[1].Data, want[:100]) {
		t.Errorf("%d packets, error %v", len(ps), err)
	}
}

func TestClosedReaderReadsNoMore(t *testing.T) {
	b := ng(binary.LittleEndian).iface(LinkEthernet, 0, nil)
	b.packet(0, 1, frame(1, 60), nil)
	r, err := NewReader(bytes.NewReader(zstded(t, b.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	r.Close()
	if _, err := r.Next(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
}
