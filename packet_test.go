package rxring_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// numbered is an IPv4 packet with a number in its last byte.
func numbered(n int) []byte {
	return append([]byte{0x45, 0, 0, 21, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}, byte(n))
}

func TestABatchDeliversItsPacketsInOrder(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP})
	_, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 256, FrameNr: 256})

	for _, packets := range []int{0, 1, 31, 32, 33, 128} {
		// The same batch is reused, so that what the packets before it had would show.
		b := dev.Batch()
		for i := range packets {
			p := b.Next()
			if i%2 == 0 {
				p.Outgoing, p.VLAN = true, rxring.VLAN{TPID: tpacket.ETHP8021Q, TCI: 7}
			}
			whole := numbered(i)
			if i%3 == 0 {
				p.Data = whole
				continue
			}
			for len(whole) > 0 { // a growing number of pieces, among them empty ones
				n := min(len(whole), 1+len(whole)/(1+i%8))
				b.AddPiece(nil)
				b.AddPiece(whole[:n])
				whole = whole[n:]
			}
		}
		b.Deliver()
		for i := range packets {
			f := rxtest.Next(t, rd)
			outgoing := f.From.Pkttype == tpacket.PacketOutgoing
			if want := i%2 == 0; !bytes.Equal(f.Data, numbered(i)) || outgoing != want || (f.VLANTCI == 7) != want {
				t.Errorf("packet %d of %d: % x, outgoing %v, VLAN %d", i, packets, f.Data, outgoing, f.VLANTCI)
			}
			f.Release()
		}
		if _, ok := rd.Next(); ok {
			t.Errorf("more than the %d packets of the batch", packets)
		}
	}
}

func TestABatchReportsPacketsWithoutAHeader(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	b := dev.Batch()
	b.Next()
	b.AddPiece(nil)
	b.Next().Data = rxtest.Frame(60)
	b.Deliver()
	if totals := s.Totals(); dev.Malformed() != 1 || totals.Captured != 1 || totals.Drops.Sum() != 1 {
		t.Errorf("%d malformed, %+v; want 1 malformed, captured and dropped", dev.Malformed(), totals)
	}
}

func TestADeviceWithoutSocketsHasNoBatch(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	if b := dev.Batch(); b != nil {
		t.Error("a batch for a device without a socket")
	}
	s, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	b := dev.Batch()
	if b == nil {
		t.Fatal("no batch for a device with a socket")
	}
	b.Next().Data = rxtest.Frame(60)
	rxtest.Must(t, s.Close())
	b.Deliver() // to none: the socket is closed
}

// BenchmarkBatch adds and delivers the packets of one call of a tunnel; times are per packet.
func BenchmarkBatch(b *testing.B) {
	const packets = 128 // a call
	data := rxtest.Frame(64)
	add := func(dev *rxring.Device, pieces int) {
		batch := dev.Batch()
		if batch == nil {
			return
		}
		for range packets {
			p := batch.Next()
			p.Outgoing, p.Timestamp = true, 1
			if pieces == 1 {
				p.Data = data
				continue
			}
			batch.AddPiece(data[:14])
			batch.AddPiece(data[14:])
		}
		batch.Deliver()
	}
	b.Run("unwatched", func(b *testing.B) {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(b, ns, rxring.DeviceConfig{Name: "net0"})
		b.ReportAllocs()
		for i := 0; i < b.N; i += packets {
			add(dev, 1)
		}
	})
	for name, pieces := range map[string]int{"64B": 1, "64B-in-two-pieces": 2} {
		b.Run(name, func(b *testing.B) {
			dev, _, rd := benchRing(b, 256, nil)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += packets {
				if i%4096 == 0 {
					b.StopTimer()
					rxtest.Drain(rd)
					b.StartTimer()
				}
				add(dev, pieces)
			}
		})
	}
}

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

// TestTimestampsAreRealTime: a packet without a time gets that of its delivery, while writers of
// another ring read the same clock. In a ring, time does not go backwards.
func TestTimestampsAreRealTime(t *testing.T) {
	const tolerance = time.Microsecond
	for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2} {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
			_, rd := rxtest.Open(t, ns, rxring.SockRaw, v, rxtest.SmallRing)
			resolution := time.Nanosecond
			if v == tpacket.V1 {
				resolution = time.Microsecond
			}
			var last time.Time
			for i := range 20_000 {
				ps := []rxring.Packet{{Data: rxtest.Frame(64)}, {Data: rxtest.Frame(64)}}
				before := time.Now().Round(0) // the wall clock alone
				if i%2 == 0 {
					dev.Deliver(&ps[0])
					dev.Deliver(&ps[1])
				} else {
					dev.DeliverBatch(ps)
				}
				after := time.Now().Round(0)
				for range ps {
					f := rxtest.Next(t, rd)
					now := f.Time()
					if now.Before(before.Add(-tolerance-resolution)) || now.After(after.Add(tolerance)) {
						t.Fatalf("a packet delivered from %v to %v is of %v", before, after, now)
					}
					if now.Before(last.Add(-tolerance)) {
						t.Fatalf("a packet of %v follows one of %v", now, last)
					}
					last = now
					f.Release()
				}
			}
		})
	}
}

// FuzzOffloads: whatever stands in front of a frame, what leaves is that frame, with
// offsets that lie within it.
func FuzzOffloads(f *testing.F) {
	f.Add([]byte{1, 1, 54, 0, 100, 0, 34, 0, 16, 0}, append(rxtest.Ethernet(0x800, 14), tcpPacket()...), uint16(0))
	f.Add([]byte{0, 5, 42, 0, 100, 0, 34, 0, 6, 0}, rxtest.Ethernet(0x8100, 400), uint16(0x8100))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 255, 255, 255, 255}, rxtest.Ethernet(0x86dd, 60), uint16(3))
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(f, ns, rxring.DeviceConfig{Name: "net0"})
	receiver, rd := rxtest.Open(f, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	rxtest.Must(f, receiver.BindDevice(dev, tpacket.ETHPAll))
	s := rxtest.OpenSender(f, ns, dev, rxring.SockRaw)
	rxtest.Must(f, rxtest.SetInt(s, tpacket.OptVnetHdrSz, 10))
	f.Fuzz(func(t *testing.T, header, data []byte, protocol uint16) {
		if len(header) < 10 {
			return
		}
		whole := append(header[:10:10], data...)
		dev.SetTransmit(func(p *rxring.Packet) error {
			start, offset := int(p.ChecksumStart), int(p.ChecksumOffset)
			if p.Checksum == rxring.ChecksumPartial && start+offset+2 > len(p.Data) {
				t.Errorf("checksum at %d+%d of %d bytes", start, offset, len(p.Data))
			}
			if p.GSO.Type != rxring.GSONone && (p.GSO.Size == 0 || int(p.GSO.HdrLen) > len(p.Data)) {
				t.Errorf("segments %+v of %d bytes", p.GSO, len(p.Data))
			}
			if len(p.Data) != len(data) {
				t.Errorf("%d bytes left, of %d", len(p.Data), len(data))
			}
			return nil
		})
		n, err := s.SendTo(whole, &tpacket.SockaddrLL{Ifindex: int32(dev.Index()), Protocol: tpacket.Htons(protocol)})
		if err == nil && n != len(whole) || !bytes.Equal(whole[10:], data) {
			t.Errorf("Send = %d, %v", n, err)
		}
		for f, ok := rd.Next(); ok; f, ok = rd.Next() {
			f.Release()
		}
	})
}

// tcpPacket is an IPv4 packet with a TCP header.
func tcpPacket() []byte {
	b := make([]byte, 300)
	copy(b, []byte{0x45, 0, 1, 44, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1, 0x9c, 0x40, 0, 53})
	b[32] = 5 << 4
	return b
}

// FuzzUntag: an untagged packet has the bytes of the original without its tags, however
// these lie in pieces, and the last of the tags beside it.
func FuzzUntag(f *testing.F) {
	f.Add(rxtest.TCPFrame(300, 0x8100, 5), uint8(1), uint16(14), uint16(3))
	f.Add(rxtest.TCPFrame(300, 0x88a8, 5, 0x8100, 6), uint8(2), uint16(15), uint16(7))
	f.Add(rxtest.TCPFrame(40, 0x8100, 0)[:17], uint8(1), uint16(14), uint16(1))
	f.Fuzz(func(t *testing.T, frame []byte, tags uint8, first, piece uint16) {
		if len(frame) < 14 {
			return // has no whole Ethernet header: measure refuses it
		}
		n := 1 + int(tags%7)
		p := rxring.Packet{Data: frame, Len: 1500, ChecksumStart: 34}
		if at := 14 + int(first); at < len(frame) {
			p.Data = frame[:at]
			p.Rest = slices.Collect(slices.Chunk(frame[at:], 1+int(piece)))
		}
		q, ok := rxring.Untag(&p, n)
		if ok != (len(frame) >= 16+4*n) {
			t.Fatalf("%d bytes, %d tags: ok is %v", len(frame), n, ok)
		}
		if !ok {
			return
		}
		got := slices.Concat(append([][]byte{q.Data}, q.Rest...)...)
		if want := slices.Concat(frame[:12], frame[12+4*n:]); !bytes.Equal(got, want) {
			t.Fatalf("got % x\nwant % x", got, want)
		}
		var tag rxring.VLAN
		at := frame[12+4*(n-1):]
		if tpid := binary.BigEndian.Uint16(at); tpid == 0x8100 || tpid == 0x88a8 {
			tag = rxring.VLAN{TPID: tpid, TCI: binary.BigEndian.Uint16(at[2:])}
		}
		if q.VLAN != tag || q.Len != 1500-4*n || q.ChecksumStart != 34-uint16(4*n) {
			t.Fatalf("tag %v, length %d, checksum start %d: want %v, %d, %d", q.VLAN, q.Len, q.ChecksumStart, tag, 1500-4*n, 34-4*n)
		}
	})
}
