package capfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"testing"
)

// What a file has beside packets is reported in its order, in either byte order; statistics that
// are no statistics lose nothing.
func TestEvents(t *testing.T) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		n := func(v uint64) []byte { return order.AppendUint64(nil, v) }
		b := ng(order).iface(LinkEthernet, 0, ng(order).option(nil, optName, 'a'))
		stats := func(id uint32, options []byte) []byte {
			body := order.AppendUint32(nil, id)
			return append(append(body, make([]byte, 8)...), options...)
		}
		b.packet(0, 1, frame(1, 60), nil)
		b.block(blockStats, stats(0, ng(order).option(nil, optDropped, n(7)...)))
		b.block(blockStats, stats(0, ng(order).option(nil, optDropped, 1, 2, 3, 4))) // too short
		b.block(blockStats, stats(9, nil))                                           // no such interface
		b.block(blockStats, []byte{1, 2, 3, 4})
		b.iface(LinkRaw, 0, nil)
		b.block(blockStats, stats(1, ng(order).option(ng(order).option(nil, optOSDropped, n(3)...), optReceived, n(5)...)))
		r, err := NewReader(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		value := func(n *uint64) string {
			if n == nil {
				return "-"
			}
			return fmt.Sprint(*n)
		}
		r.SetEvents(Events{
			Interface: func(number int, i Interface) {
				got = append(got, fmt.Sprintf("interface %d %q %d", number, i.Name, i.LinkType))
			},
			Stats: func(number int, s Stats) {
				got = append(got, fmt.Sprintf("stats %d %s %s %s", number, value(s.Received), value(s.Dropped), value(s.OSDropped)))
			},
		})
		for {
			p, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("packet %d", p.Interface))
		}
		want := []string{`interface 0 "a" 1`, "packet 0", "stats 0 - 7 -", "stats 0 - - -", `interface 1 "" 101`, "stats 1 5 - 3"}
		if !slices.Equal(got, want) {
			t.Errorf("%v:\n%q, want\n%q", order, got, want)
		}
	}
}
