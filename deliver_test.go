package rxring_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

func TestPacketLooksTheSameToEveryKindOfSocket(t *testing.T) {
	packet := rxtest.Frame(100)
	for i := 14; i < 100; i++ {
		packet[i] = byte(i)
	}
	for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2} {
		for _, c := range []struct {
			name     string
			typ      rxring.SockType
			keep     uint32
			wantLen  int
			wantData []byte
		}{
			{"raw starts at the link-layer header", rxring.SockRaw, 1 << 18, 100, packet},
			{"dgram starts at the network header", rxring.SockDgram, 1 << 18, 86, packet[14:]},
			{"filter result bounds the snaplen", rxring.SockRaw, 20, 100, packet[:20]},
			{"dgram counts the snaplen from the network header", rxring.SockDgram, 20, 86, packet[14:34]},
		} {
			t.Run(fmt.Sprintf("%v/%s", v, c.name), func(t *testing.T) {
				ns := rxring.NewNamespace(rxring.NamespaceConfig{})
				dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
				s, rd := rxtest.Open(t, ns, c.typ, v, rxtest.SmallRing)
				rxtest.Must(t, s.AttachFilter(rxtest.Keep(c.keep)))
				for _, p := range []rxring.Packet{
					{Data: packet},
					{Data: packet[:14], Rest: [][]byte{packet[14:]}},
					{Data: packet[:15], Rest: [][]byte{{}, packet[15:16], packet[16:50], packet[50:]}},
				} {
					p.Timestamp = 12_345_678_901
					dev.Deliver(&p)
					f := rxtest.Next(t, rd)
					if f.Len != c.wantLen || !bytes.Equal(f.Data, c.wantData) {
						t.Errorf("len %d, data % x: want %d, % x", f.Len, f.Data, c.wantLen, c.wantData)
					}
					if f.UnixNano()/1000 != 12_345_678 {
						t.Errorf("timestamp %d ns", f.UnixNano())
					}
					want := tpacket.SockaddrLL{
						Family: tpacket.AFPacket, Protocol: tpacket.Htons(tpacket.ETHPIP), Ifindex: int32(dev.Index()),
						Hatype: tpacket.ARPHRDEther, Halen: 6, Addr: [8]byte{0x02, 0, 0, 0, 0, 1},
					}
					if f.From != want {
						t.Errorf("from %+v, want %+v", f.From, want)
					}
					f.Release()
				}
			})
		}
	}
}

func TestPacketTypeAndProtocolFollowTheHeader(t *testing.T) {
	own := [6]byte{2, 1, 2, 3, 4, 5}
	eth := func(dst [6]byte, typ uint16, payload ...byte) []byte {
		b := append(dst[:], 2, 9, 9, 9, 9, 9)
		return append(binary.BigEndian.AppendUint16(b, typ), payload...)
	}
	for _, c := range []struct {
		name     string
		dev      rxring.DeviceType
		p        rxring.Packet
		typ      tpacket.PacketType
		protocol uint16
	}{
		{"to us", rxring.Ethernet, rxring.Packet{Data: eth(own, 0x86dd)}, tpacket.PacketHost, tpacket.ETHPIPv6},
		{"to all", rxring.Ethernet, rxring.Packet{Data: eth([6]byte{255, 255, 255, 255, 255, 255}, 0x806)}, tpacket.PacketBroadcast, tpacket.ETHPARP},
		{"to a group", rxring.Ethernet, rxring.Packet{Data: eth([6]byte{1, 0, 0x5e}, 0x800)}, tpacket.PacketMulticast, tpacket.ETHPIP},
		{"to another host", rxring.Ethernet, rxring.Packet{Data: eth([6]byte{2, 7, 7, 7, 7, 7}, 0x800)}, tpacket.PacketOtherHost, tpacket.ETHPIP},
		{"from us", rxring.Ethernet, rxring.Packet{Data: eth(own, 0x800), Outgoing: true}, tpacket.PacketOutgoing, tpacket.ETHPIP},
		{"length field and LLC", rxring.Ethernet, rxring.Packet{Data: eth(own, 3, 0xaa, 0xaa, 3)}, tpacket.PacketHost, tpacket.ETHP8022},
		{"raw 802.3", rxring.Ethernet, rxring.Packet{Data: eth(own, 3, 0xff, 0xff, 0)}, tpacket.PacketHost, tpacket.ETHP8023},
		{"raw 802.3 in pieces", rxring.Ethernet, rxring.Packet{Data: eth(own, 3, 0xff), Rest: [][]byte{{}, {0xff}}}, tpacket.PacketHost, tpacket.ETHP8023},
		{"raw IPv4", rxring.RawIP, rxring.Packet{Data: []byte{0x45, 0}}, tpacket.PacketHost, tpacket.ETHPIP},
		{"raw IPv6", rxring.RawIP, rxring.Packet{Data: []byte{0x60, 0}, Outgoing: true}, tpacket.PacketOutgoing, tpacket.ETHPIPv6},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", Type: c.dev, HardwareAddr: own})
			_, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
			dev.Deliver(&c.p)
			f := rxtest.Next(t, rd)
			if f.From.Pkttype != c.typ || tpacket.Htons(f.From.Protocol) != c.protocol {
				t.Errorf("type %d, protocol %#x: want %d, %#x", f.From.Pkttype, tpacket.Htons(f.From.Protocol), c.typ, c.protocol)
			}
		})
	}
}

func TestOffloadStateShowsInTheStatus(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	_, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	for _, c := range []struct {
		p    rxring.Packet
		want uint32
	}{
		{rxring.Packet{}, tpacket.StatusUser},
		{rxring.Packet{Checksum: rxring.ChecksumPartial}, tpacket.StatusUser | tpacket.StatusCsumNotReady},
		{rxring.Packet{Checksum: rxring.ChecksumValid}, tpacket.StatusUser | tpacket.StatusCsumValid},
		{rxring.Packet{Checksum: rxring.ChecksumValid, Outgoing: true}, tpacket.StatusUser},
		{rxring.Packet{GSO: rxring.GSO{Type: rxring.GSOTCPv4}}, tpacket.StatusUser | tpacket.StatusGSOTCP},
		{rxring.Packet{GSO: rxring.GSO{Type: rxring.GSOUDPL4}}, tpacket.StatusUser},
		{rxring.Packet{Timestamp: 1}, tpacket.StatusUser | tpacket.StatusTSSoftware},
		{rxring.Packet{VLAN: rxring.VLAN{TPID: 0x8100, TCI: 5}}, tpacket.StatusUser | tpacket.StatusVLANValid | tpacket.StatusVLANTPID},
	} {
		c.p.Data = rxtest.Frame(60)
		dev.Deliver(&c.p)
		f := rxtest.Next(t, rd)
		if f.Status != c.want || f.VLANTCI != uint32(c.p.VLAN.TCI) || f.VLANTPID != c.p.VLAN.TPID {
			t.Errorf("%+v: status %#x, vlan %#x %d: want %#x", c.p, f.Status, f.VLANTPID, f.VLANTCI, c.want)
		}
		f.Release()
	}
}

func TestPacketLongerThanItsFrameIsCut(t *testing.T) {
	for _, c := range []struct {
		name    string
		reserve uint32
		typ     rxring.SockType
		want    int
	}{
		{"raw", 0, rxring.SockRaw, 2048 - 66},
		{"raw behind a reserve", 4, rxring.SockRaw, 2048 - 70},
		{"dgram", 0, rxring.SockDgram, 2048 - 80},
		{"no room for data at all", 1990, rxring.SockRaw, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
			s, err := ns.Socket(c.typ, tpacket.ETHPAll)
			rxtest.Must(t, err)
			defer s.Close()
			rxtest.Must(t, s.SetVersion(tpacket.V2), rxtest.SetInt(s, tpacket.OptReserve, int(c.reserve)), s.SetRxRing(rxtest.SmallRing))
			rd, err := s.NewReader()
			rxtest.Must(t, err)
			dev.Deliver(&rxring.Packet{Data: rxtest.Frame(3000)})
			f := rxtest.Next(t, rd)
			if len(f.Data) != c.want {
				t.Errorf("%d bytes captured, want %d", len(f.Data), c.want)
			}
		})
	}
}

func TestHeadersPastSixteenBitsAreDropped(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t, s.SetVersion(tpacket.V2), rxtest.SetInt(s, tpacket.OptReserve, 70000),
		s.SetRxRing(tpacket.Req{BlockSize: 1 << 17, BlockNr: 1, FrameSize: 1 << 17, FrameNr: 1}))
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if got := s.Totals(); got.Drops[ring.NoRoom] != 1 || got.Captured != 0 {
		t.Errorf("%+v, want one drop for another reason", got)
	}
}

func TestLinkLayerHeadersOfAnyLengthArePlacedAsInLinux(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	v1, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V1, rxtest.BlocksRequest.Req)
	v2, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.BlocksRequest.Req)
	v3, _ := rxtest.OpenV3(t, ns, rxtest.BlocksRequest)
	for v, s := range map[tpacket.Version]*rxring.Socket{tpacket.V1: v1, tpacket.V2: v2, tpacket.V3: v3} {
		for maclen := range uint32(300) {
			if got, want := s.Offsets(maclen), tpacket.RawOffsets(v, maclen, 0, 0); got != want {
				t.Errorf("V%d, a header of %d bytes: %+v, want %+v", v+1, maclen, got, want)
			}
		}
	}
}

func TestSocketSeesOnlyItsDeviceAndProtocol(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	a := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "a"})
	b := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "b"})
	in, out := &rxring.Packet{Data: rxtest.Frame(60)}, &rxring.Packet{Data: rxtest.Frame(60), Outgoing: true}
	all := func() { a.Deliver(in); a.Deliver(out); b.Deliver(in); b.Deliver(out) }

	s, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t, s.SetVersion(tpacket.V2), s.SetRxRing(tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 2048, FrameNr: 32}))
	if a.HasListeners() {
		t.Error("watched by a socket without a protocol")
	}
	for _, c := range []struct {
		name     string
		dev      *rxring.Device
		protocol uint16
		want     uint64
	}{
		{"one device, everything", a, tpacket.ETHPAll, 2},
		{"one device, one protocol: incoming only", b, tpacket.ETHPIP, 1},
		{"one device, another protocol", b, tpacket.ETHPARP, 0},
		{"the protocol it had", a, 0, 0},
		{"every device", nil, tpacket.ETHPAll, 4},
	} {
		if c.dev != nil {
			rxtest.Must(t, s.BindDevice(c.dev, c.protocol))
		} else {
			rxtest.Must(t, s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Protocol: tpacket.Htons(c.protocol)}))
		}
		before := s.Totals().Offered()
		all()
		if got := s.Totals().Offered() - before; got != c.want {
			t.Errorf("%s: offered %d packets, want %d", c.name, got, c.want)
		}
	}
	rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptIgnoreOutgoing, rxtest.Int(1)))
	before := s.Totals().Offered()
	all()
	if got := s.Totals().Offered() - before; got != 2 {
		t.Errorf("ignoring outgoing: offered %d packets, want 2", got)
	}
}

func empty(t testing.TB, rd *ring.Reader) {
	t.Helper()
	if f, ok := rd.Next(); ok {
		t.Fatalf("the ring holds a packet of %d bytes that it should not", f.Len)
	}
}

func TestBatchIsAsManyDeliveries(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	all, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 16, BlockNr: 8, FrameSize: 2048, FrameNr: 256})
	some, _ := rxtest.Open(t, ns, rxring.SockDgram, tpacket.V1, rxtest.SmallRing)
	rxtest.Must(t, some.BindDevice(dev, tpacket.ETHPIP), some.AttachFilter([]cbpf.Instruction{
		{Op: 0x80},                       // ld len
		{Op: 0x25, Jt: 0, Jf: 1, K: 100}, // jgt #100
		{Op: 0x06, K: 0},                 // ret #0
		{Op: 0x06, K: 20},                // ret #20
	}))
	var ps []rxring.Packet
	for i := range 100 {
		p := rxring.Packet{Data: rxtest.Frame(15 + i), Outgoing: i%10 == 3}
		if i == 50 {
			p.Data = p.Data[:13] // malformed
		}
		ps = append(ps, p)
	}
	dev.DeliverBatch(ps)
	for i := range 100 {
		if i == 50 {
			continue
		}
		f := rxtest.Next(t, rd)
		if f.Len != 15+i || (f.From.Pkttype == tpacket.PacketOutgoing) != (i%10 == 3) {
			t.Errorf("packet %d: %d bytes, type %d", i, f.Len, f.From.Pkttype)
		}
		f.Release()
	}
	empty(t, rd)
	if got, want := all.Totals(), (ring.Totals{Captured: 99, Drops: ring.Drops{ring.Malformed: 1}}); got != want {
		t.Errorf("everything: %+v, want %+v", got, want)
	}
	// 89 come in, and a malformed one; up to 100 bytes from the network header
	// pass: all but none, since the longest is 100.
	if got, want := some.Totals(), (ring.Totals{Captured: 4, Drops: ring.Drops{ring.Full: 85, ring.Malformed: 1}}); got != want {
		t.Errorf("IPv4 that comes in: %+v, want %+v", got, want)
	}
	if dev.Malformed() != 1 {
		t.Errorf("malformed %d, want 1", dev.Malformed())
	}
}

func TestDeliverAllocatesNothing(t *testing.T) {
	dev, s, rd := benchRing(t, 2048, rxtest.Keep(1<<18))
	piece := rxtest.Frame(700)
	allocs := testing.AllocsPerRun(1000, func() {
		dev.Deliver(&rxring.Packet{Data: piece})
		rxtest.Drain(rd)
	})
	if allocs != 0 {
		t.Errorf("%v allocations a packet", allocs)
	}
	batch := make([]rxring.Packet, 40)
	for i := range batch {
		batch[i].Data = piece
	}
	if allocs := testing.AllocsPerRun(100, func() { dev.DeliverBatch(batch); rxtest.Drain(rd) }); allocs != 0 {
		t.Errorf("%v allocations a batch", allocs)
	}
	tagged := rxtest.TaggedFrame(dev.HardwareAddr(), 0x800, piece, 0x8100, 5)
	if allocs := testing.AllocsPerRun(1000, func() {
		dev.Deliver(&rxring.Packet{Data: tagged[:100], Rest: [][]byte{tagged[100:]}})
		rxtest.Drain(rd)
	}); allocs != 0 {
		t.Errorf("%v allocations a tagged packet", allocs)
	}
	if s.Totals().Captured == 0 {
		t.Error("nothing was captured")
	}
}

// TestTaggedFramesInPiecesAndBatches wants the same of a frame however it lies
// in memory and is delivered.
func TestTaggedFramesInPiecesAndBatches(t *testing.T) {
	payload := make([]byte, 400)
	for i := range payload {
		payload[i] = byte(i)
	}
	frame := rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, payload, 0x88a8, 5, 0x8100, 6)
	collect := func(deliver func(*rxring.Device)) (all [][]byte) {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "tap0", HardwareAddr: rxtest.OwnAddr})
		for _, typ := range []rxring.SockType{rxring.SockRaw, rxring.SockDgram} {
			for _, protocol := range []uint16{tpacket.ETHPAll, tpacket.ETHP8021Q} {
				s, _ := rxtest.Open(t, ns, typ, tpacket.V2, rxtest.SmallRing)
				rxtest.Must(t, s.BindDevice(dev, protocol))
				defer func() {
					for i := range uint32(4) {
						all = append(all, append([]byte(nil), s.Ring().(*writer.Ring).Frame(i)...))
					}
				}()
			}
		}
		deliver(dev)
		return all
	}
	pieces := func(cuts ...int) rxring.Packet {
		p := rxring.Packet{Timestamp: 1}
		rest := frame
		for i, n := range cuts {
			if i == 0 {
				p.Data = rest[:n]
			} else {
				p.Rest = append(p.Rest, rest[:n])
			}
			rest = rest[n:]
		}
		p.Rest = append(p.Rest, rest)
		return p
	}
	shapes := []rxring.Packet{{Data: frame, Timestamp: 1}, pieces(14), pieces(14, 1, 0, 1, 1, 1, 100), pieces(15, 3, 7), pieces(300), pieces(190, 1, 1, 1, 1, 1, 1)}
	crumbs := pieces(14)
	crumbs.Rest = nil
	for i := range frame[14:] {
		crumbs.Rest = append(crumbs.Rest, frame[14+i:15+i])
	}
	shapes = append(shapes, crumbs)
	for _, outgoing := range []bool{false, true} {
		var want [][]byte
		for i, p := range shapes {
			p.Outgoing = outgoing
			plain := rxring.Packet{Data: rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, payload), Timestamp: 1}
			for _, batch := range []bool{false, true} {
				got := collect(func(dev *rxring.Device) {
					ps := []rxring.Packet{plain, p, p, plain}
					if batch {
						dev.DeliverBatch(ps)
						return
					}
					for i := range ps {
						dev.Deliver(&ps[i])
					}
				})
				if want == nil {
					want = got
				}
				for j := range want {
					if string(got[j]) != string(want[j]) {
						t.Errorf("shape %d, outgoing %v, batch %v, frame %d: % x\nwant % x", i, outgoing, batch, j, got[j][:120], want[j][:120])
					}
				}
			}
		}
	}
}

// TestLinkLayerHeaderThatAGrantCuts: a SOCK_DGRAM socket skips a header of which its grant hides
// the end.
func TestLinkLayerHeaderThatAGrantCuts(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	rxtest.Must(t, err)
	s, err := ns.SocketFor(&rxring.Grant{Snaplen: 14}, rxring.SockDgram, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t, s.AttachFilter(rxtest.Keep(1<<18)))                    // else no packet without visible bytes is received
	data := append(rxtest.Frame(12), 0x81, 0, 0, 5, 8, 0, 0x45, 0, 0, 20) // sent with a tag: a header of 18 bytes
	dev.Deliver(&rxring.Packet{Data: data, Outgoing: true})
	dev.DeliverBatch([]rxring.Packet{{Data: data, Outgoing: true}})
	for i := range 2 {
		if m, err := s.Recv(make([]byte, 64), rxring.MsgTrunc); err != nil || m.Copied != 0 || m.Auxdata.Len != uint32(len(data)-18) {
			t.Errorf("packet %d: %+v, %v: want no bytes of %d", i, m, err, len(data)-18)
		}
	}
}

// TestTimesBefore1970: nanoseconds are not negative, as in Linux.
func TestTimesBefore1970(t *testing.T) {
	dev, _, rd := benchRing(t, 256, nil)
	for timestamp, want := range map[int64]int64{-1: 1<<32*1e9 - 1, -1e9: (1<<32 - 1) * 1e9, 1: 1, 1<<32*1e9 - 1: 1<<32*1e9 - 1} {
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64), Timestamp: timestamp})
		f, ok := rd.Next()
		if !ok || f.UnixNano() != want {
			t.Errorf("timestamp %d: %d, %v: want %d, seconds modulo 2^32", timestamp, f.UnixNano(), ok, want)
		}
		f.Release()
	}
}

// A filter of one `ret #n` is not run: its sockets receive and count what those of the same
// filter in two instructions do.
func TestConstantFilters(t *testing.T) {
	const small = 128 // bytes of a slot: it cuts packets, too
	for _, keep := range []uint32{0, 1, 13, 14, 15, 60, 64, 65, 1 << 18, 1<<32 - 1} {
		for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3} {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
			var sockets [2]*rxring.Socket
			var readers [2]*ring.Reader
			for i, prog := range [][]cbpf.Instruction{
				rxtest.Keep(keep),
				{{Op: cbpf.OpLdImm, K: 7}, {Op: cbpf.OpRetK, K: keep}},
			} {
				if v == tpacket.V3 {
					sockets[i], readers[i] = rxtest.OpenV3(t, ns, rxtest.BlocksRequest)
				} else {
					sockets[i], readers[i] = rxtest.Open(t, ns, rxring.SockRaw, v, tpacket.Req{BlockSize: 4096, BlockNr: 1, FrameSize: small, FrameNr: 32})
				}
				rxtest.Must(t, sockets[i].AttachFilter(prog))
			}
			var ps []rxring.Packet
			for _, n := range []int{14, 15, 60, 64, 65, 200} {
				ps = append(ps, rxring.Packet{Data: rxtest.Frame(n), Timestamp: int64(n)},
					rxring.Packet{Data: rxtest.Frame(14), Rest: [][]byte{make([]byte, n-14)}, Timestamp: int64(n), Outgoing: true})
			}
			for i := range ps {
				dev.Deliver(&ps[i])
			}
			dev.DeliverBatch(ps)
			var got [2][]string
			for i, rd := range readers {
				if v == tpacket.V3 {
					rxtest.Expire(sockets[i])
				}
				for f, ok := rd.Next(); ok; f, ok = rd.Next() {
					got[i] = append(got[i], fmt.Sprintf("%d of %d bytes, status %#x, % x", len(f.Data), f.Len, f.Status, f.Data))
					f.Release()
				}
				if n := len(got[i]); keep > 0 && n != 2*len(ps) || keep == 0 && n != 0 {
					t.Errorf("%v, ret #%d, socket %d: %d packets of %d", v, keep, i, n, 2*len(ps))
				}
			}
			if !slices.Equal(got[0], got[1]) || sockets[0].Totals() != sockets[1].Totals() {
				t.Errorf("%v, ret #%d: %+v\n%q\nwant %+v\n%q", v, keep, sockets[0].Totals(), got[0], sockets[1].Totals(), got[1])
			}
		}
	}
}
