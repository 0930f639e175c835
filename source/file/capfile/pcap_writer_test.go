package capfile

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPcapIsReadAsItIsWritten(t *testing.T) {
	var file bytes.Buffer
	w := NewPcapWriter(&file)
	for _, name := range []string{"tun0", "tun1"} {
		if id, err := w.AddInterface(Interface{Name: name, LinkType: LinkRaw, SnapLen: 96}); id != 0 || err != nil {
			t.Fatal(id, err)
		}
	}
	for i := range 100 {
		if err := w.WritePacket(0, 1700000000_999999999+int64(i), 2*i+20, frame(i, i+20), Outbound); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ps, ins, err := readAll(&file)
	if err != nil || len(ps) != 100 || len(ins) != 1 || ins[0].LinkType != LinkRaw || ins[0].SnapLen != 96 {
		t.Fatalf("%d packets of %v, %v", len(ps), ins, err)
	}
	for i, p := range ps {
		if p.Timestamp != 1700000000_999999999+int64(i) || p.Len != 2*i+20 || !bytes.Equal(p.Data, frame(i, i+20)) {
			t.Errorf("packet %d: %+v", i, p)
		}
	}
	if out := run(t, "capinfos", path); !strings.Contains(out, "Number of packets:   100\n") || !strings.Contains(out, "nanosecond pcap") {
		t.Error(out)
	}
	if out := run(t, "tcpdump", "-r", path, "-n", "-tt", "--time-stamp-precision=nano", "-c", "2"); !strings.HasPrefix(out, "1700000000.999999999 ") || !strings.Contains(out, "\n1700000001.000000000 ") {
		t.Error(out)
	}
}

func TestWhatPcapCannotHold(t *testing.T) {
	var file bytes.Buffer
	w := NewPcapWriter(&file)
	fails := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	fails(w.WritePacket(0, 0, 1, []byte{1}, 0), "packet before AddInterface")
	if _, err := w.AddInterface(Interface{Name: "net0", LinkType: LinkEthernet}); err != nil {
		t.Fatal(err)
	}
	_, err := w.AddInterface(Interface{Name: "tun0", LinkType: LinkRaw})
	fails(err, "interface tun0 has link type raw IP (101): a pcap file has one, here Ethernet (1): want pcapng")
	fails(w.WritePacket(0, -1, 1, []byte{1}, 0), "time of -1 ns: want 1970 to 2105")
	fails(w.WritePacket(0, (math.MaxUint32+1)*1e9, 1, []byte{1}, 0), "want 1970 to 2105")
	fails(w.WritePacket(0, 0, 1, []byte{1, 2}, 0), "packet with 2 of 1 bytes")
	fails(w.WritePacket(0, 0, MaxPacket+1, make([]byte, MaxPacket+1), 0), "want at most 1048576")
	if err := w.Flush(); err != nil || file.Len() != pcapHeader {
		t.Errorf("%d bytes, %v", file.Len(), err)
	}
}

// What a compressor has flushed can be read while it is still open.
func TestCompressors(t *testing.T) {
	for name, open := range map[string]func(io.Writer) (Compressor, error){"gzip": NewGzip, "zstd": NewZstd} {
		var file bytes.Buffer
		c, err := open(&file)
		if err != nil {
			t.Fatal(err)
		}
		w := NewPcapWriter(c)
		w.AddInterface(Interface{LinkType: LinkEthernet})
		for i := range 1000 {
			if err := w.WritePacket(0, int64(i), 60, frame(i, 60), 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Flush(), c.Flush()); err != nil {
			t.Fatal(err)
		}
		if ps, _, err := readAll(bytes.NewReader(file.Bytes())); len(ps) != 1000 || !errors.Is(err, ErrTruncated) {
			t.Errorf("%s, open: %d packets, %v", name, len(ps), err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if file.Len() > 1000*60/2 {
			t.Errorf("%s: %d bytes", name, file.Len())
		}
		if ps, _, err := readAll(&file); len(ps) != 1000 || err != nil {
			t.Errorf("%s: %d packets, %v", name, len(ps), err)
		}
	}
}
