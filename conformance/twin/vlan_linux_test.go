package twin_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// TestTagsShowAsInTheKernel gives frames with VLAN tags to sockets of all kinds,
// and to the kernel's.
func TestTagsShowAsInTheKernel(t *testing.T) {
	withTwins(t, func(w *twins) {
		rings := []*twinRing{
			w.ring("raw", rxring.SockRaw, tpacket.ETHPAll),
			w.ring("dgram", rxring.SockDgram, tpacket.ETHPAll),
			w.ring("raw, IPv4", rxring.SockRaw, tpacket.ETHPIP),
			w.ring("dgram, IPv4", rxring.SockDgram, tpacket.ETHPIP),
			w.ring("raw, 802.1Q", rxring.SockRaw, tpacket.ETHP8021Q),
			w.ring("dgram, 802.1AD", rxring.SockDgram, tpacket.ETHP8021AD),
		}
		seen := 0
		check := func(what string) {
			for _, r := range rings {
				seen += r.compare(t, what)
			}
		}
		ip := make([]byte, 40)
		ip[0] = 0x45
		const q, ad, vlan5 = tpacket.ETHP8021Q, tpacket.ETHP8021AD, 0x6005
		many := func(n int) (tags []uint16) {
			for i := range n {
				tags = append(tags, q, uint16(i+1))
			}
			return tags
		}
		everyone := [6]byte{255, 255, 255, 255, 255, 255}
		frames := map[string][]byte{
			"no tag":                    rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip),
			"one":                       rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, q, vlan5),
			"one, 802.1ad":              rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, ad, vlan5),
			"two":                       rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, ad, vlan5, q, 7),
			"three":                     rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, ad, vlan5, q, 7, q, 8),
			"priority only":             rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, q, 0x6000),
			"priority only, then a tag": rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, q, 0, ad, 7),
			"priority only three times": rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, q, 0, ad, 0, q, 0x2000),
			"priority and tag, cut":     rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, nil, q, 0, q, 7),
			"priority twice, cut":       rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, nil, q, 0, q, 0),
			"to all":                    rxtest.TaggedFrame(everyone, 0x800, ip, q, vlan5),
			"LLC":                       rxtest.TaggedFrame(rxtest.OwnAddr, 5, []byte("\x42\x42\x03abcde"), q, vlan5),
			"raw 802.3":                 rxtest.TaggedFrame(rxtest.OwnAddr, 5, []byte("\xff\xff\x03abcde"), q, vlan5),
			"LLC behind two":            rxtest.TaggedFrame(rxtest.OwnAddr, 5, []byte("\x42\x42\x03abcde"), q, vlan5, q, 6),
			"an unknown TPID":           rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, 0x9100, vlan5),
			"cut in two":                rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, nil, q, vlan5, ad, 7),
		}
		for n := 6; n <= 9; n++ {
			frames[fmt.Sprintf("%d tags", n)] = rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, many(n)...)
		}
		one, two := frames["one"], frames["two"]
		for n := 14; n < 24; n++ {
			frames[fmt.Sprintf("one, %d bytes", n)] = one[:n]
			frames[fmt.Sprintf("two, %d bytes", n)] = two[:n]
		}
		for what, frame := range frames {
			w.arrives(frame)
			check("in: " + what)
		}
		for what, frame := range frames {
			if len(frame) > 14 { // the kernel sends no bare header
				w.leaves(binary.BigEndian.Uint16(frame[12:]), frame)
				check("out: " + what)
			}
		}
		if seen < 150 {
			t.Errorf("compared %d frames only", seen)
		}
		t.Logf("compared %d frames", seen)
	})
}
