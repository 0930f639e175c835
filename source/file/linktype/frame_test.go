package linktype

import (
	"bytes"
	"testing"

	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/tpacket"
)

// A packet has the bytes of its link type: with its tag, with a header, or as it is.
func TestAppendFrame(t *testing.T) {
	frame := []byte("DDDDDDSSSSSS\x08\x00payload")
	for _, c := range []struct {
		name   string
		frame  ring.Frame
		link   capfile.LinkType
		cooked bool
		want   string
	}{
		{"plain", ring.Frame{Data: frame}, capfile.LinkEthernet, false, string(frame)},
		{"with a tag", ring.Frame{Data: frame, Status: tpacket.StatusVLANValid, VLANTCI: 5}, capfile.LinkEthernet, false, "DDDDDDSSSSSS\x81\x00\x00\x05\x08\x00payload"},
		{"with a tag of another type", ring.Frame{Data: frame, Status: tpacket.StatusVLANValid | tpacket.StatusVLANTPID, VLANTCI: 5, VLANTPID: 0x88a8}, capfile.LinkEthernet, false, "DDDDDDSSSSSS\x88\xa8\x00\x05\x08\x00payload"},
		{"too short for a tag", ring.Frame{Data: frame[:11], Status: tpacket.StatusVLANValid}, capfile.LinkEthernet, false, "DDDDDDSSSSS"},
		{"cooked", ring.Frame{Data: []byte("IP"), From: tpacket.SockaddrLL{Protocol: tpacket.Htons(0x800), Ifindex: 3, Hatype: 512, Pkttype: 4}}, capfile.LinkLinuxSLL2, true, "\x08\x00\x00\x00\x00\x00\x00\x03\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00IP"},
		{"cooked, from a socket with link-layer headers", ring.Frame{Data: frame, Net: 14}, capfile.LinkLinuxSLL2, true, string(make([]byte, SLL2Len)) + "payload"},
	} {
		b := []byte("before")
		if got := AppendFrame(b, c.link, c.cooked, &c.frame); string(got) != "before"+c.want || !bytes.HasPrefix(got, b) {
			t.Errorf("%s: %q, want %q", c.name, got[len(b):], c.want)
		}
	}
}
