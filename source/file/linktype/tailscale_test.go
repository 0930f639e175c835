package linktype

import (
	"slices"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/capfile"
)

// A capture of tailscale has IP packets behind a header of its own.
func TestTailscale(t *testing.T) {
	link, err := Of(capfile.LinkUser0)
	if err != nil || link.Device != rxring.RawIP {
		t.Fatalf("%+v, %v", link, err)
	}
	v4, v6 := []byte{0x45, 0, 0, 20}, []byte{0x60, 0, 0, 0}
	addr4, addr6 := make([]byte, 4), make([]byte, 16)
	header := func(path byte, snat, dnat []byte) []byte {
		b := append([]byte{path, 0, byte(len(snat))}, snat...)
		return append(append(b, byte(len(dnat))), dnat...)
	}
	for _, c := range []struct {
		name     string
		header   []byte
		packet   []byte
		outgoing bool
		bad      bool
	}{
		{"from this host", header(0, nil, nil), v4, true, false},
		{"from a peer", header(1, nil, nil), v6, false, false},
		{"to this host, of tailscale's own", header(2, nil, addr4), v4, false, false},
		{"to a peer, of tailscale's own", header(3, addr6, addr4), v4, true, false},
		{"its discovery protocol", header(254, nil, nil), v4, false, true},
		{"an unknown path", header(4, nil, nil), v4, false, true},
		{"a path of two bytes", []byte{0, 1, 0, 0}, v4, false, true},
		{"no IP packet", header(0, nil, nil), []byte{0xff}, false, true},
		{"an address of 5 bytes", header(0, make([]byte, 5), nil), v4, false, true},
		{"nothing behind the header", header(0, nil, nil), nil, false, true},
		{"an address that is cut off", []byte{0, 0, 16, 1, 2}, nil, false, true},
		{"a header that is cut off", []byte{0}, nil, false, true},
	} {
		p, ok := link.Decode(slices.Concat(c.header, c.packet))
		if ok == c.bad || !c.bad && (p.Outgoing != c.outgoing || !slices.Equal(p.Data, c.packet) || p.HasLink) {
			t.Errorf("%s: %+v, %v", c.name, p, ok)
		}
	}
}
