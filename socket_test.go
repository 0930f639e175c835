package rxring_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/rxtest"
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
					if f.Sec != 12 || f.Nsec/1000 != 345_678 {
						t.Errorf("timestamp %d.%09d", f.Sec, f.Nsec)
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
		{"to somebody else", rxring.Ethernet, rxring.Packet{Data: eth([6]byte{2, 7, 7, 7, 7, 7}, 0x800)}, tpacket.PacketOtherHost, tpacket.ETHPIP},
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
		if f.Status != c.want || f.VLANTCI != c.p.VLAN.TCI || f.VLANTPID != c.p.VLAN.TPID {
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
			rxtest.Must(t, s.SetVersion(tpacket.V2), s.SetReserve(c.reserve), s.SetRxRing(rxtest.SmallRing))
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
	rxtest.Must(t, s.SetVersion(tpacket.V2), s.SetReserve(70000),
		s.SetRxRing(tpacket.Req{BlockSize: 1 << 17, BlockNr: 1, FrameSize: 1 << 17, FrameNr: 1}))
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if got := s.Totals(); got.Drops[ring.NoRoom] != 1 || got.Captured != 0 {
		t.Errorf("%+v, want one drop for another reason", got)
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

func TestEveryPacketOfferedIsCountedOnce(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	rxtest.Must(t, s.AttachFilter([]cbpf.Instruction{
		{Op: 0x80},                       // ld len
		{Op: 0x25, Jt: 0, Jf: 1, K: 100}, // jgt #100
		{Op: 0x06, K: 0},                 // ret #0
		{Op: 0x06, K: 1 << 18},           // ret #262144
	}))
	for range 3 {
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(200)}) // filtered
	}
	dev.DeliverBatch([]rxring.Packet{{Data: rxtest.Frame(60)}, {Data: rxtest.Frame(61)}, {Data: rxtest.Frame(62)}, {Data: rxtest.Frame(63)}, {Data: rxtest.Frame(64)}, {Data: rxtest.Frame(65)}})
	want := ring.Totals{Filtered: 3, Captured: 4, Drops: ring.Drops{ring.Full: 2}}
	if got := s.Totals(); got != want || got.Offered() != 9 {
		t.Errorf("totals %+v: want %+v", got, want)
	}
	for i := range 4 {
		f := rxtest.Next(t, rd)
		if f.Len != 60+i || f.Status&tpacket.StatusLosing != 0 {
			t.Errorf("packet %d: %d bytes, status %#x", i, f.Len, f.Status)
		}
		f.Release()
	}
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if f := rxtest.Next(t, rd); f.Status&tpacket.StatusLosing == 0 {
		t.Error("no TP_STATUS_LOSING while drops are unread")
	} else {
		f.Release()
	}
	if st := s.Statistics(); st != (tpacket.Stats3{Packets: 7, Drops: 2}) {
		t.Errorf("statistics %+v, want 7 packets of which 2 drops", st)
	}
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if f := rxtest.Next(t, rd); f.Status&tpacket.StatusLosing != 0 {
		t.Error("TP_STATUS_LOSING after the drops were read")
	}
	var buf [8]byte
	n, err := s.Getsockopt(tpacket.SolPacket, tpacket.OptStatistics, buf[:])
	rxtest.Must(t, err)
	if st := tpacket.Parse[tpacket.Stats](buf[:n]); st != (tpacket.Stats{Packets: 1}) {
		t.Errorf("statistics %+v, want 1 packet", st)
	}
}

func TestMalformedPacketsAreDroppedAtEverySocket(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	eth := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "eth"})
	raw := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "raw", Type: rxring.RawIP})
	s, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	eth.Deliver(&rxring.Packet{})
	eth.Deliver(&rxring.Packet{Data: make([]byte, 13), Rest: [][]byte{{1, 2, 3}}})
	raw.Deliver(&rxring.Packet{})
	raw.Deliver(&rxring.Packet{Data: []byte{0x12}})
	if eth.Malformed() != 2 || raw.Malformed() != 2 {
		t.Errorf("malformed %d and %d: want 2 and 2", eth.Malformed(), raw.Malformed())
	}
	if got, want := s.Totals(), (ring.Totals{Drops: ring.Drops{ring.Malformed: 4}}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if st := s.Statistics(); st != (tpacket.Stats3{Packets: 4, Drops: 4}) {
		t.Errorf("%+v, want 4 packets, all dropped", st)
	}
}

func TestCallsThatLinuxRefusesGetItsErrno(t *testing.T) {
	const solSocket = 1
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 1 << 20})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	plain, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	ringed, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	locked, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err, locked.LockFilter())
	closed, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err, closed.Close())
	dgram, err := ns.Socket(rxring.SockDgram, 0)
	rxtest.Must(t, err)
	big := tpacket.Req{BlockSize: 1 << 20, BlockNr: 2, FrameSize: 2048, FrameNr: 1024}
	mreq := func(ifindex int32, typ, alen uint16) []byte {
		b := binary.NativeEndian.AppendUint16(rxtest.Int(ifindex), typ)
		return append(binary.NativeEndian.AppendUint16(b, alen), make([]byte, 8)...)
	}
	get := func(s *rxring.Socket, level, name int, buf []byte) error {
		_, err := s.Getsockopt(level, name, buf)
		return err
	}
	recv := func(s *rxring.Socket, flags rxring.RecvFlags) error {
		_, err := s.Recv(make([]byte, 9), flags)
		return err
	}
	socketErr := func(typ rxring.SockType) error { _, err := ns.Socket(typ, 0); return err }
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"socket of a type there is not", socketErr(10), syscall.Errno(94)},
		{"bind to a device there is not", plain.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: 99}), syscall.ENODEV},
		{"bind to another family", plain.Bind(tpacket.SockaddrLL{Family: 2}), syscall.EINVAL},
		{"version there is not", plain.SetVersion(9), syscall.EINVAL},
		{"version of the wrong size", plain.Setsockopt(tpacket.SolPacket, tpacket.OptVersion, make([]byte, 3)), syscall.EINVAL},
		{"version with a ring", ringed.SetVersion(tpacket.V1), syscall.EBUSY},
		{"reserve past an int", plain.SetReserve(1 << 31), syscall.EINVAL},
		{"reserve of the wrong size", plain.Setsockopt(tpacket.SolPacket, tpacket.OptReserve, make([]byte, 8)), syscall.EINVAL},
		{"reserve with a ring", ringed.SetReserve(4), syscall.EBUSY},
		{"second ring", ringed.SetRxRing(rxtest.SmallRing), syscall.EBUSY},
		{"ring of no frames", plain.SetRxRing(tpacket.Req{BlockSize: 4096, BlockNr: 1, FrameSize: 2048}), syscall.EINVAL},
		{"ring request too short", plain.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, make([]byte, 15)), syscall.EINVAL},
		{"frames without blocks", plain.SetRxRing(tpacket.Req{FrameNr: 1}), syscall.EINVAL},
		{"ring past the memory bound", plain.SetRxRing(big), syscall.ENOMEM},
		{"filter of no instructions", plain.AttachFilter(nil), syscall.EINVAL},
		{"detach of no filter", plain.DetachFilter(), syscall.ENOENT},
		{"vnet header on a dgram socket", dgram.SetVnetHeader(0), syscall.EINVAL},
		{"vnet header of a size there is not", plain.SetVnetHeader(11), syscall.EINVAL},
		{"vnet header with a ring", ringed.SetVnetHeader(10), syscall.EBUSY},
		{"vnet header too short", plain.Setsockopt(tpacket.SolPacket, tpacket.OptVnetHdr, []byte{1}), syscall.EINVAL},
		{"attach to a locked filter", locked.AttachFilter(rxtest.Keep(1)), syscall.EPERM},
		{"detach of a locked filter", locked.Setsockopt(solSocket, 27, rxtest.Int(0)), syscall.EPERM},
		{"unlock", locked.Setsockopt(solSocket, 44, rxtest.Int(0)), syscall.EPERM},
		{"lock of the wrong size", locked.Setsockopt(solSocket, 44, nil), syscall.EINVAL},
		{"ignore outgoing beyond a flag", plain.Setsockopt(tpacket.SolPacket, tpacket.OptIgnoreOutgoing, rxtest.Int(2)), syscall.EINVAL},
		{"auxdata of the wrong size", plain.Setsockopt(tpacket.SolPacket, tpacket.OptAuxdata, []byte{1}), syscall.EINVAL},
		{"membership on a device there is not", plain.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, mreq(99, 1, 0)), syscall.ENODEV},
		{"membership with a long address", plain.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, mreq(int32(dev.Index()), 0, 7)), syscall.EINVAL},
		{"membership too short", plain.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, make([]byte, 15)), syscall.EINVAL},
		{"receive timeout with too many microseconds", plain.Setsockopt(solSocket, 20, append(make([]byte, 8), 0, 0, 0, 0, 1, 0, 0, 0)), syscall.EDOM},
		{"receive timeout too short", plain.Setsockopt(solSocket, 20, rxtest.Int(1)), syscall.EINVAL},
		{"option there is not", plain.Setsockopt(tpacket.SolPacket, 999, rxtest.Int(1)), syscall.ENOPROTOOPT},
		{"level there is not", get(plain, 6, 1, make([]byte, 4)), syscall.ENOPROTOOPT},
		{"header length of a version there is not", get(plain, tpacket.SolPacket, tpacket.OptHdrlen, rxtest.Int(7)), syscall.EINVAL},
		{"header length without its argument", get(plain, tpacket.SolPacket, tpacket.OptHdrlen, make([]byte, 3)), syscall.EINVAL},
		{"receive from an empty queue", recv(plain, 0), syscall.EAGAIN},
		{"receive out of band", recv(plain, 1), syscall.EINVAL},
		{"receive from the error queue", recv(plain, rxring.MsgErrQueue), syscall.EAGAIN},
		{"receive after close", recv(closed, 0), syscall.EBADF},
		{"bind after close, as os sees it", closed.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket}), os.ErrClosed},
		{"bind after close", closed.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket}), rxring.ErrClosed},
		{"get after close", get(closed, 1, 3, make([]byte, 4)), syscall.EBADF},
		{"second close", closed.Close(), syscall.EBADF},
		{"reader without a ring", func() error { _, err := plain.NewReader(); return err }(), rxring.ErrNoRing},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		} else {
			t.Logf("%s: %v", c.name, c.err)
		}
	}
}

func TestDeviceConfigurationsThatLinuxRefuses(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "taken"})
	for _, c := range []struct {
		config rxring.DeviceConfig
		want   error
		says   string
	}{
		{rxring.DeviceConfig{}, syscall.EINVAL, `""`},
		{rxring.DeviceConfig{Name: "sixteen-letters-"}, syscall.EINVAL, "15 bytes"},
		{rxring.DeviceConfig{Name: "a b"}, syscall.EINVAL, "white space"},
		{rxring.DeviceConfig{Name: ".."}, syscall.EINVAL, `".."`},
		{rxring.DeviceConfig{Name: "taken"}, syscall.EEXIST, "taken"},
		{rxring.DeviceConfig{Name: "x", MTU: 67}, syscall.EINVAL, "68"},
		{rxring.DeviceConfig{Name: "x", MTU: 65536}, syscall.EINVAL, "65535"},
		{rxring.DeviceConfig{Name: "x", Type: rxring.Loopback, MTU: 1 << 20}, syscall.EINVAL, "524288"},
		{rxring.DeviceConfig{Name: "x", HardwareAddr: [6]byte{1}}, syscall.EINVAL, "unicast"},
		{rxring.DeviceConfig{Name: "x", Prefixes: []netip.Prefix{{}}}, syscall.EINVAL, "invalid Prefix"},
		{rxring.DeviceConfig{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/8")}}, syscall.EINVAL, "0.0.0.0/8"},
		{rxring.DeviceConfig{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("ff02::1/64")}}, syscall.EINVAL, "unicast"},
		{rxring.DeviceConfig{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("::ffff:1.2.3.4/104")}}, syscall.EINVAL, "::ffff:1.2.3.4"},
		{rxring.DeviceConfig{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8"), netip.MustParsePrefix("10.0.0.1/8")}}, syscall.EINVAL, "once"},
	} {
		if _, err := ns.AddDevice(c.config); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %v that says %q", c.config, err, c.want, c.says)
		}
	}
	d, ok := ns.DeviceByName("taken")
	if byIndex, ok2 := ns.DeviceByIndex(d.Index()); !ok || !ok2 || byIndex != d || len(ns.Devices()) != 1 {
		t.Error("the device is not found by name and index")
	}
	if _, ok := ns.DeviceByName("none"); ok {
		t.Error("a device was found that nobody added")
	}
}

func TestOptionsReadBackWhatLinuxWouldSay(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockDgram, 0)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t,
		s.Setsockopt(tpacket.SolPacket, tpacket.OptVersion, rxtest.Int(1)),
		s.Setsockopt(tpacket.SolPacket, tpacket.OptReserve, rxtest.Int(4)),
		s.Setsockopt(tpacket.SolPacket, tpacket.OptAuxdata, rxtest.Int(77)),
		s.Setsockopt(1, 8, rxtest.Int(4096)),
		s.Setsockopt(1, 44, rxtest.Int(1)),
		s.BindDevice(dev, tpacket.ETHPIP),
	)
	for _, c := range []struct {
		name       string
		level, opt int
		in         int32
		want       int32
	}{
		{"PACKET_VERSION", tpacket.SolPacket, tpacket.OptVersion, 0, 1},
		{"PACKET_RESERVE", tpacket.SolPacket, tpacket.OptReserve, 0, 4},
		{"PACKET_AUXDATA", tpacket.SolPacket, tpacket.OptAuxdata, 0, 1},
		{"PACKET_ORIGDEV", tpacket.SolPacket, tpacket.OptOrigdev, 0, 0},
		{"PACKET_HDRLEN of V2", tpacket.SolPacket, tpacket.OptHdrlen, 1, 32},
		{"SO_TYPE", 1, 3, 0, 2},
		{"SO_DOMAIN", 1, 39, 0, 17},
		{"SO_PROTOCOL", 1, 38, 0, 0},
		{"SO_ERROR", 1, 4, 0, 0},
		{"SO_RCVBUF doubled", 1, 8, 0, 8192},
		{"SO_LOCK_FILTER", 1, 44, 0, 1},
		{"SO_BPF_EXTENSIONS", 1, 48, 0, 64},
	} {
		buf := rxtest.Int(c.in)
		n, err := s.Getsockopt(c.level, c.opt, buf)
		if err != nil || n != 4 || int32(binary.NativeEndian.Uint32(buf)) != c.want {
			t.Errorf("%s: %d bytes, % x, %v: want %d", c.name, n, buf, err, c.want)
		}
	}
	if n, err := s.Getsockopt(1, 3, make([]byte, 2)); n != 2 || err != nil {
		t.Errorf("short buffer: %d bytes, %v: want 2", n, err)
	}
	want := tpacket.SockaddrLL{Family: 17, Protocol: tpacket.Htons(tpacket.ETHPIP), Ifindex: int32(dev.Index()), Hatype: 1, Halen: 6}
	addr := dev.HardwareAddr()
	copy(want.Addr[:], addr[:])
	if got := s.Addr(); got != want {
		t.Errorf("address %+v, want %+v", got, want)
	}
}

func TestPromiscuousWhileSomebodyAsksForIt(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	mreq := append(rxtest.Int(int32(dev.Index())), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	a, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	b, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	steps := []struct {
		do   func() error
		want bool
	}{
		{func() error { return a.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, mreq) }, true},
		{func() error { return b.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, mreq) }, true},
		{func() error { return a.Setsockopt(tpacket.SolPacket, tpacket.OptDropMembership, mreq) }, true},
		{func() error { return a.Setsockopt(tpacket.SolPacket, tpacket.OptDropMembership, mreq) }, true}, // nothing of a's is left
		{b.Close, false},
	}
	for i, s := range steps {
		rxtest.Must(t, s.do())
		if n, _ := dev.Memberships(); dev.Promiscuous() != s.want || n > 0 != s.want {
			t.Errorf("after step %d: promiscuous %v, want %v", i, dev.Promiscuous(), s.want)
		}
	}
}

func TestMemoryOfClosedSocketsCanBeUsedAgain(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 8192})
	for range 100 {
		s, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
		rxtest.Must(t, s.SetRxRing(tpacket.Req{}), s.SetRxRing(rxtest.SmallRing), s.Close())
	}
}

// TestHostileReadersHarmNobodyElse has four writers deliver while one reader
// scribbles over its whole ring, one never reads, one closes in the middle, and
// a lawful one must see every packet that its ring accepted, whole.
func TestHostileReadersHarmNobodyElse(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	open := func() (*rxring.Socket, *ring.Reader) {
		return rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 2048, FrameNr: 32})
	}
	lawful, lawfulReader := open()
	scribbler, _ := open()
	sleeper, _ := open()
	dying, _ := open()

	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	var stop atomic.Bool
	read := uint64(0)
	readers.Go(func() {
		for {
			f, ok := lawfulReader.Next()
			if !ok {
				if lawfulReader.Wait(ctx) == nil {
					continue
				}
				if f, ok = lawfulReader.Next(); !ok {
					return
				}
			}
			for _, b := range f.Data[14:] {
				if b != f.Data[14] {
					t.Errorf("torn packet: % x", f.Data)
					break
				}
			}
			f.Release()
			read++
		}
	})
	readers.Go(func() {
		mem := scribbler.Ring().Memory().Bytes()
		words := unsafe.Slice((*uint32)(unsafe.Pointer(&mem[0])), len(mem)/4)
		for v := uint32(0); !stop.Load(); v = v*1664525 + 1013904223 {
			for i := range words {
				atomic.StoreUint32(&words[i], v>>(i%32))
			}
			runtime.Gosched()
		}
	})
	const each = 20000
	for w := range 4 {
		writers.Go(func() {
			data := rxtest.Frame(600)
			for i := range each {
				for j := 14; j < len(data); j++ {
					data[j] = byte(w*64 + i%64)
				}
				dev.Deliver(&rxring.Packet{Data: data[:200], Rest: [][]byte{data[200:]}, Outgoing: i%2 == 0})
				if w == 0 && i == each/2 {
					rxtest.Must(t, dying.Close())
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	cancel()
	readers.Wait()
	for name, s := range map[string]*rxring.Socket{"lawful": lawful, "scribbler": scribbler, "sleeper": sleeper} {
		if got := s.Totals(); got.Offered() != 4*each {
			t.Errorf("%s: %+v adds up to %d, offered were %d", name, got, got.Offered(), 4*each)
		}
	}
	if got := lawful.Totals(); got.Captured != read {
		t.Errorf("lawful reader read %d packets, its ring took %d", read, got.Captured)
	}
	if got := sleeper.Totals(); got.Captured != 32 {
		t.Errorf("the ring that nobody reads took %d packets, want its 32 slots' worth", got.Captured)
	}
	t.Logf("lawful %+v, scribbler %+v, dying %+v", lawful.Totals(), scribbler.Totals(), dying.Totals())
}

func TestKernelOwnedIsOptInAndOnlyForGoReaders(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t, s.SetKernelOwned(true), s.SetVersion(tpacket.V2), s.SetRxRing(rxtest.SmallRing))
	if err := s.SetKernelOwned(false); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("with a ring: %v, want %v", err, syscall.EBUSY)
	}
	rd, err := s.NewReader()
	rxtest.Must(t, err)
	slots := s.Ring().(*ring.Ring)
	slot, _ := slots.Acquire()
	if h := tpacket.Header2At(slots.Frame(slot)); h.Status != ring.StatusKernelOwned {
		t.Errorf("status %#x while a writer fills the slot, want %#x", h.Status, ring.StatusKernelOwned)
	}
	empty(t, rd)
	slots.Release(slot, tpacket.StatusUser)
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	for range 2 {
		f := rxtest.Next(t, rd)
		f.Release()
	}
	empty(t, rd)

	// No socket option, of any level, gives it to an interposed program.
	plain, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	defer plain.Close()
	for _, level := range []int{1, tpacket.SolPacket} {
		for name := range 256 {
			plain.Setsockopt(level, name, rxtest.Int(1)) // some are refused, which is fine
		}
	}
	plain.Setsockopt(tpacket.SolPacket, tpacket.OptVersion, rxtest.Int(1))
	plain.Setsockopt(tpacket.SolPacket, tpacket.OptReserve, rxtest.Int(0))
	rxtest.Must(t, plain.SetRxRing(rxtest.SmallRing))
	slots = plain.Ring().(*ring.Ring)
	slot, _ = slots.Acquire()
	if h := tpacket.Header2At(slots.Frame(slot)); h.Status != tpacket.StatusKernel {
		t.Errorf("status %#x while a writer fills the slot: an option switched kernel-owned on", h.Status)
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
