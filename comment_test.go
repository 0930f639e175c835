package rxring_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// ringOf opens a socket with a ring whose slots have 2048 bytes, or with blocks, and its reader.
func ringOf(t *testing.T, ns *rxring.Namespace, v tpacket.Version) (*rxring.Socket, *ring.Reader) {
	t.Helper()
	if v == tpacket.V3 {
		return rxtest.OpenV3(t, ns, rxtest.BlocksRequest)
	}
	return rxtest.Open(t, ns, rxring.SockRaw, v, tpacket.Req{BlockSize: 16384, BlockNr: 1, FrameSize: 2048, FrameNr: 8})
}

func wantComments(t *testing.T, s *rxring.Socket) {
	t.Helper()
	rxtest.Must(t, rxtest.SetInt(s, tpacket.OptComments, 1))
}

func TestCommentsReachReadersThatWantThem(t *testing.T) {
	long := strings.Repeat("ä", 5000)
	for _, version := range []tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3} {
		t.Run(version.String(), func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
			wants, wantsReader := ringOf(t, ns, version)
			plain, plainReader := ringOf(t, ns, version)
			wantComments(t, wants)
			room := 4096 // what is kept
			if version != tpacket.V3 {
				room = 2048 - version.HeaderSize() // less the packet: see below
			}
			tagged := append(rxtest.Frame(14)[:12:12], 0x81, 0, 0, 5, 0x88, 0xb5, 'x', 'y')
			packets := []rxring.Packet{
				{Data: rxtest.Frame(60), Comment: "peer Alice"},
				{Data: rxtest.Frame(61)},
				{Data: rxtest.Frame(62), Comment: long},
				{Data: tagged, Comment: "in a VLAN"},
				{Data: rxtest.Frame(14), Rest: [][]byte{rxtest.Frame(9)}, Outgoing: true, Comment: "in pieces"},
			}
			for _, batch := range []bool{false, true} {
				if batch {
					dev.DeliverBatch(packets)
				} else {
					for i := range packets {
						dev.Deliver(&packets[i])
					}
				}
				if version == tpacket.V3 {
					rxtest.Expire(wants)
					rxtest.Expire(plain)
				}
				for i, p := range packets {
					f, g := rxtest.Next(t, wantsReader), rxtest.Next(t, plainReader)
					got := f.Comment()
					switch {
					case p.Comment != long && got != p.Comment:
						t.Errorf("packet %d: comment %q, want %q", i, got, p.Comment)
					case p.Comment == long && (!strings.HasPrefix(long, got) || len(got) > room || len(got) < room-200):
						t.Errorf("packet %d: %d bytes of comment, want about %d", i, len(got), room)
					}
					if g.Comment() != "" || g.Status&tpacket.StatusComment != 0 {
						t.Errorf("packet %d: comment %q, status %#x of a socket that did not ask for comments", i, g.Comment(), g.Status)
					}
					if string(f.Data) != string(g.Data) || f.VLANTCI != g.VLANTCI || f.Len != g.Len {
						t.Errorf("packet %d: % x with its comment, % x without", i, f.Data, g.Data)
					}
					clone := f.Clone()
					if clone.Comment() != "" {
						t.Error("a clone has a comment of the ring")
					}
					f.Release()
					g.Release()
				}
			}
		})
	}
}

// A comment may tell more than the bytes that a grant leaves.
func TestGrantsThatHideBytesHideComments(t *testing.T) {
	for what, c := range map[string]struct {
		grant rxring.Grant
		want  string
	}{
		"devices": {rxring.Grant{Devices: rxtest.Only("net0")}, "peer Alice"},
		"account": {rxring.Grant{Account: rxring.NewAccount()}, "peer Alice"},
		"snaplen": {rxring.Grant{Snaplen: 1000}, ""},
		"filter":  {rxring.Grant{Filter: rxtest.Keep(1 << 18)}, ""},
	} {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
		s, rd := ringOf(t, ns, tpacket.V2)
		wantComments(t, s)
		rxtest.Must(t, s.SetGrant(&c.grant))
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60), Comment: "peer Alice"})
		if f := rxtest.Next(t, rd); f.Comment() != c.want {
			t.Errorf("%s: %q, want %q", what, f.Comment(), c.want)
		}
	}
}

// Whatever is behind a packet in shared memory, a comment lies in the ring.
func TestACommentOfAHostileWriterStaysInTheRing(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, rd := ringOf(t, ns, tpacket.V2)
	wantComments(t, s)
	g, _ := s.Geometry()
	for slot := range g.FrameNr {
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60), Comment: fmt.Sprint("slot ", slot)})
		f := rxtest.Next(t, rd)
		memory := s.Ring().Memory().Bytes()[g.FrameOffset(slot):]
		h := tpacket.Header2At(memory)
		memory[int(h.Mac)+int(h.Snaplen)], memory[int(h.Mac)+int(h.Snaplen)+1] = 0xff, 0xff
		if n := len(f.Comment()); n > len(memory) {
			t.Errorf("slot %d: %d bytes of comment in a ring that has %d there", slot, n, len(memory))
		}
		f.Release()
	}
}
