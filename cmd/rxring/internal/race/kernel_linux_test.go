package race

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/netstack/streams/payload"
	"github.com/rxring/rxring/tpacket"
)

func TestKernelRace(t *testing.T) {
	need.Time(t, "it runs the race for seconds")
	for _, blocks := range []bool{false, true} {
		c := DefaultKernel()
		c.Duration, c.Blocks = time.Second, blocks
		r, err := Kernel(t.Context(), c)
		if refused := new(NamespaceError); errors.As(err, &refused) {
			need.Skip(t, need.Kernel, "%v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		r.WriteText(&text)
		t.Log(text.String())
		if r.Content == 0 || r.Content > r.Packets || r.Bytes == 0 || r.Wraps == 0 {
			t.Errorf("nothing was checked: %+v", r)
		}
		if r.OK != (r.Torn == 0) {
			t.Errorf("ok %v with %d torn", r.OK, r.Torn)
		}
		if blocks != strings.Contains(text.String(), "TPACKET_V3 ring of 2 blocks") {
			t.Errorf("blocks %v: %s", blocks, &text)
		}
	}
}

// segment is a packet as the connections of a traffic send it.
func segment(source, destination uint16, seq uint32, data []byte) []byte {
	b := make([]byte, ethernetLen+ipv4Len+tcpLen, ethernetLen+ipv4Len+tcpLen+len(data))
	binary.BigEndian.PutUint16(b[12:], tpacket.ETHPIP)
	ip := b[ethernetLen:]
	ip[0], ip[9] = 0x45, ipProtoTCP
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Len+tcpLen+len(data)))
	tcp := ip[ipv4Len:]
	binary.BigEndian.PutUint16(tcp, source)
	binary.BigEndian.PutUint16(tcp[2:], destination)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	tcp[12] = 5 << 4
	return append(b, data...)
}

func content(stream uint16, offset uint64, n int) []byte {
	b := make([]byte, n)
	payload.Fill(b, payload.Position{Stream: stream, Offset: offset})
	return b
}

func TestSegmentsOfTheKernelAreCheckedByteForByte(t *testing.T) {
	const isn = 0xfffffff0 // wraps at once
	fresh := func() *traffic {
		a, b := &flow{stream: 0}, &flow{stream: 1}
		tr := &traffic{flows: []*flow{a, b}, byPort: map[uint16]*flow{1000: a, 1001: b}, server: 9}
		if _, err := tr.check(segment(1000, 9, isn, content(0, 0, 3000))); err != nil {
			t.Fatal(err)
		}
		return tr
	}
	at := func(offset uint64) uint32 { return uint32(isn + offset) }
	for name, c := range map[string]struct {
		packet []byte
		torn   string
	}{
		"whole":                      {segment(1000, 9, at(3000), content(0, 3000, 60000)), ""},
		"unaligned":                  {segment(1000, 9, at(3001), content(0, 3001, 999)), ""},
		"one byte":                   {segment(1000, 9, at(3005), content(0, 3005, 1)), ""},
		"without content":            {segment(1000, 9, at(3000), nil), ""},
		"acknowledgement":            {segment(9, 1000, 7, nil), ""},
		"4 GiB on":                   {segment(1000, 9, at(1<<32+5), content(0, 1<<32+5, 500)), ""},
		"first of another flow":      {segment(1001, 9, 77, content(1, 0, 500)), ""},
		"two packets in one":         {segment(1000, 9, at(3000), append(content(0, 3000, 800), content(1, 800, 700)...)), "not those of stream 0"},
		"headers of another packet":  {segment(1000, 9, at(3000), content(0, 9000, 800)), "not those of stream 0"},
		"headers of another flow":    {segment(1000, 9, at(3000), content(1, 3000, 800)), "not those of stream 0"},
		"stale tail":                 {segment(1000, 9, at(3000), append(content(0, 3000, 800), make([]byte, 30)...)), "not those of stream 0"},
		"one wrong byte":             {segment(1000, 9, at(3005), []byte{^content(0, 3005, 1)[0]}), "not those of stream 0"},
		"ports of nobody":            {segment(1002, 9, 7, nil), "headers are those of no packet"},
		"content from the wrong end": {segment(9, 1000, 7, content(0, 0, 100)), "a side that sends none"},
		"zeros":                      {make([]byte, 100), "headers are those of no packet"},
		"cut to nothing":             {nil, "headers are those of no packet"},
	} {
		_, err := fresh().check(c.packet)
		switch {
		case c.torn == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.torn != "" && (err == nil || !strings.Contains(err.Error(), c.torn)):
			t.Errorf("%s: %v, want %q", name, err, c.torn)
		}
	}
}
