package fleet

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/source/file/capfile"
)

func TestTokens(t *testing.T) {
	for name, want := range map[string]string{"web-1": "web-1", "a.b": "a%2Eb", "*": "%2A", ">": "%3E", "ü x": "%C3%BC%20x"} {
		if got := token(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestLocalNames(t *testing.T) {
	taken := map[string]bool{"eth0": true}
	is := func(name string) bool { return taken[name] }
	for _, c := range []struct {
		host, device string
		several      bool
		want         string
	}{
		{"h17", "wg0", false, "wg0"},
		{"h17", "wg0", true, "h17.wg0"},
		{"h17", "eth0", false, "eth0~"},
		{"web-1.example.org", "eth0", true, "web-1.exam~"},
		{"h", "a b", false, "a_b~"},
	} {
		got := localName(c.host, c.device, c.several, is)
		if !strings.HasPrefix(got, c.want) || len(got) > maxName || taken[got] {
			t.Errorf("%s/%s: %q, want %q", c.host, c.device, got, c.want)
		}
		taken[got] = true
	}
}

// Counts of a session in which each packet is delivered or lost once.
func TestLedger(t *testing.T) {
	l := newLedger("s", counts{Packets: 10, Dropped: 3, Lost: 1})
	if got := l.settle(counts{Packets: 10, Dropped: 5, Lost: 1}); got != (Losses{FarRing: 2}) {
		t.Error(got)
	}
	l.packets += 4 // delivered
	if got := l.settle(counts{Packets: 20, Dropped: 5, Lost: 2}); got != (Losses{Transit: 6, BeforeDevice: 1}) {
		t.Error(got)
	}
	if got := l.settle(counts{Packets: 15, Dropped: 4, Lost: 1}); got != (Losses{}) {
		t.Error(got)
	}
	if got := l.close(counts{Packets: 20, Offered: 30, Dropped: 5, Lost: 2}); got != (Losses{Transit: 3}) {
		t.Error(got)
	}
	if got := l.close(counts{Packets: 20, Offered: 1}); got != (Losses{}) {
		t.Error(got)
	}
}

// sample is the payload of a batch of two packets.
func sample(t testing.TB, c Compression) ([]byte, string) {
	t.Helper()
	e := encoder{iface: capfile.Interface{Name: "eth0", LinkType: capfile.LinkEthernet}, start: time.Now(), limit: maxBatch}
	e.compressor.is = c
	for range 2 {
		p := capfile.Packet{Timestamp: 1, Len: 1000, Data: bytes.Repeat([]byte{1}, 1000), Direction: capfile.Inbound}
		if err := e.add(&p); err != nil {
			t.Fatal(err)
		}
	}
	payload, encoding, err := e.end(counts{})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(payload), encoding
}

// A hostile host's batch costs an error, and memory of a fixed size.
func FuzzDecode(f *testing.F) {
	for _, c := range Compressions {
		payload, encoding := sample(f, c)
		f.Add(payload, encoding)
	}
	f.Add([]byte("\x1f\x8b"), "")
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f, 1}, "s2")
	f.Add([]byte("x"), "br")
	d := decoder{link: capfile.LinkEthernet}
	good, encoding := sample(f, S2)
	f.Fuzz(func(t *testing.T, payload []byte, encoded string) {
		d.each(payload, encoded, func(p *capfile.Packet) error {
			if len(p.Data) > maxDecoded {
				t.Errorf("packet of %d bytes", len(p.Data))
			}
			return nil
		})
		n := 0
		if err := d.each(good, encoding, func(*capfile.Packet) error { n++; return nil }); err != nil || n != 2 {
			t.Errorf("a good batch after it has %d packets: %v", n, err)
		}
	})
}
