package rxring_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// reading is a socket on a device with a reader of its ring.
func reading(t *testing.T, dev *rxring.Device, v tpacket.Version, req tpacket.Req3) (*rxring.Socket, *ring.Reader) {
	t.Helper()
	s, err := dev.Namespace().Socket(rxring.SockRaw, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := errors.Join(s.SetVersion(v), s.SetRxRing3(req), s.BindDevice(dev, tpacket.ETHPAll)); err != nil {
		t.Fatal(err)
	}
	r, err := s.NewReader()
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// An hour: blocks are handed over by Drain, not by their timer.
const never = 3600 * 1000

func TestASourceThatAsksForRoomLosesNothingAndDrainWaitsForReaders(t *testing.T) {
	need.Time(t, "it delivers for a second")
	rings := map[string]struct {
		v   tpacket.Version
		req tpacket.Req3
	}{
		"many slots": {tpacket.V2, tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 16, BlockNr: 4, FrameSize: 2048, FrameNr: 128}}},
		"few slots":  {tpacket.V2, tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 1 << 12, FrameNr: 16}}},
		"blocks":     {tpacket.V3, tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 16, BlockNr: 8, FrameSize: 1 << 16, FrameNr: 8}, RetireBlkTov: never}},
		// The writer stands still for longer than that, between any two packets.
		"blocks with a timer": {tpacket.V3, tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 16, BlockNr: 6, FrameSize: 1 << 16, FrameNr: 6}, RetireBlkTov: 1}},
		"one block":           {tpacket.V3, tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 14, BlockNr: 1, FrameSize: 1 << 14, FrameNr: 1}, RetireBlkTov: 1}},
	}
	const batch = 32
	for name, tt := range rings {
		t.Run(name, func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
			if dev.RoomFor(1<<20) != 1<<20 {
				t.Error("no room on a device without sockets")
			}
			socket, reader := reading(t, dev, tt.v, tt.req)
			packets := 5000
			timer := tt.req.RetireBlkTov == 1
			if timer {
				packets = 300
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			read := make(chan int)
			go func() {
				n := 0
				defer func() { read <- n }()
				for ; n < packets; n++ {
					if err := reader.Wait(ctx); err != nil {
						return
					}
					f, _ := reader.Next()
					if f.Release(); timer {
						time.Sleep(time.Millisecond)
					}
				}
			}()
			frame := make([]byte, 1000)
			for sent := 0; sent < packets; {
				room := dev.RoomFor(min(batch, packets-sent))
				if room == 0 {
					if ctx.Err() != nil {
						t.Fatal("no room in a minute")
					}
					time.Sleep(100 * time.Microsecond)
				}
				for range room {
					dev.Deliver(&rxring.Packet{Data: frame})
					if sent++; timer && sent%10 < 3 {
						time.Sleep(1500 * time.Microsecond)
					}
				}
			}
			if err := dev.Drain(ctx); err != nil {
				t.Fatal(err)
			}
			// All that Drain waited for, without the timer of the last block.
			if n := <-read; n != packets || socket.Totals().Dropped() != 0 {
				t.Errorf("%d packets read, %+v: want %d and none dropped", n, socket.Totals(), packets)
			}
			dev.Deliver(&rxring.Packet{Data: frame})
			short, stop := context.WithCancel(ctx)
			stop()
			if err := dev.Drain(short); !errors.Is(err, context.Canceled) {
				t.Errorf("Drain with an unread packet: %v", err)
			}
		})
	}
}

func TestASourceTellsSocketsThatAreReadFromThoseThatAreNot(t *testing.T) {
	rings := map[string]struct {
		v       tpacket.Version
		req     tpacket.Req3
		packets int // that are more than it has room for
	}{
		"V2":       {tpacket.V2, tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 1 << 12, FrameNr: 16}}, 20},
		"one slot": {tpacket.V2, tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 12, BlockNr: 1, FrameSize: 1 << 12, FrameNr: 1}}, 3},
		"V3":       {tpacket.V3, tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 12, BlockNr: 2, FrameSize: 1 << 12, FrameNr: 2}, RetireBlkTov: never}, 20},
	}
	for name, tt := range rings {
		t.Run(name, func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
			s, r := reading(t, dev, tt.v, tt.req)
			if got := slices.Collect(dev.Sockets()); len(got) != 1 || got[0] != s || !s.HasRoom(1) || s.HasRead() {
				t.Errorf("at first: sockets %v, room %v, read %v", got, s.HasRoom(1), s.HasRead())
			}
			for range tt.packets {
				dev.Deliver(&rxring.Packet{Data: make([]byte, 1000)})
			}
			if s.HasRoom(1) || s.HasRead() {
				t.Errorf("full: room %v, read %v", s.HasRoom(1), s.HasRead())
			}
			for n := 0; ; n++ {
				f, ok := r.Next()
				if !ok {
					break
				}
				f.Release()
				if tt.v == tpacket.V2 && !s.HasRead() {
					t.Errorf("not read after slot %d was handed back", n)
				}
			}
			if !s.HasRoom(1) || !s.HasRead() {
				t.Errorf("read: room %v, read %v", s.HasRoom(1), s.HasRead())
			}
			for range tt.packets { // a second lap, which fills it again
				dev.Deliver(&rxring.Packet{Data: make([]byte, 1000)})
				dev.Drain(stopped())
			}
			if s.HasRoom(1) || !s.HasRead() {
				t.Errorf("full again: room %v, read %v", s.HasRoom(1), s.HasRead())
			}
		})
	}
	t.Run("queue", func(t *testing.T) {
		dev, s := queueing(t)
		defer s.Close()
		for range 1000 {
			dev.Deliver(&rxring.Packet{Data: make([]byte, 1000)})
		}
		if s.HasRoom(1) || s.HasRead() {
			t.Errorf("full: room %v, read %v", s.HasRoom(1), s.HasRead())
		}
		s.Discard()
		if !s.HasRead() {
			t.Error("not read after a packet was taken")
		}
		for _, held := range []bool{false, true} {
			s.SetHeld(held)
			if got := slices.Collect(dev.Sockets()); len(got) == 1 != held || dev.HasRoom(1) == held {
				t.Errorf("held %v: sockets %v, room %v", held, got, dev.HasRoom(1))
			}
		}
	})
}

func TestDrainDoesNotWaitForUnreadSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev, s := queueing(t)
		defer s.Close()
		for range 3 {
			dev.Deliver(&rxring.Packet{Data: make([]byte, 1000)})
		}
		if err := dev.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		s.Discard() // now it has a reader, who is slow
		// Much longer than Drain waits for a socket that was not read; each millisecond of
		// this clock is one of Drain's looks.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := dev.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain while a reader has two packets to read: %v", err)
		}
	})
}

// queueing is a device with a socket that has no ring.
func queueing(t *testing.T) (*rxring.Device, *rxring.Socket) {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	if err != nil {
		t.Fatal(err)
	}
	return dev, s
}

// stopped is a context that has ended.
func stopped() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	return ctx
}

func TestAFilterThatMayNotSeeAllOfThePacketIsNotForTheSourceToRun(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	own := []cbpf.Instruction{{Op: 0x06, K: 100}} // ret #100
	mandatory := []cbpf.Instruction{{Op: 0x06, K: 200}}
	for _, tt := range []struct {
		name  string
		grant *rxring.Grant
		want  []cbpf.Instruction // nil: all packets are wanted
	}{
		{"no grant", nil, own},
		{"everything", &rxring.Grant{}, own},
		{"a snaplen", &rxring.Grant{Snaplen: 42}, nil},
		{"a filter", &rxring.Grant{Filter: mandatory}, mandatory},
	} {
		s, err := ns.SocketFor(tt.grant, rxring.SockRaw, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.AttachFilter(own), s.BindDevice(dev, tpacket.ETHPAll)); err != nil {
			t.Fatal(err)
		}
		programs, all := dev.Filters()
		if all != (tt.want == nil) || !all && !slices.Equal(programs[0], tt.want) {
			t.Errorf("%s: %v, all packets: %v; want %v", tt.name, programs, all, tt.want)
		}
		s.Close()
	}
}

// A source delivers to one receiver at once and to another later: each has every packet
// once, in order, as one delivery to both would have given it, and the device counts it once.
func TestASourceDeliversToOneReceiverLater(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	req := tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 1 << 11, FrameNr: 32}}
	prompt, _ := reading(t, dev, tpacket.V2, req)
	late, reader := reading(t, dev, tpacket.V2, req)
	at := dev.Moment()
	after, _ := reading(t, dev, tpacket.V2, req) // bound after the packets came

	frame := func(i byte) []byte {
		b := make([]byte, 60)
		b[12], b[13], b[14] = 0x88, 0xb5, i
		return b
	}
	tagged := make([]byte, 60)
	copy(tagged[12:], []byte{0x81, 0, 0, 7, 0x88, 0xb5, 1})
	ps := []rxring.Packet{{Data: frame(0)}, {Data: tagged}, {Data: []byte{1, 2}}, {Data: tagged[:17]}, {Data: frame(2)}}

	all := dev.Receivers(nil)
	if len(all) != 3 || all[0] != dev.Receivers(nil)[0] || all[0] == all[1] || all[1].RoomFor(4) != 4 {
		t.Fatalf("receivers %v", all)
	}
	dev.DeliverBatchTo([]rxring.Receiver{all[0], all[2]}, at, ps)
	if n := late.Totals().Offered(); n != 0 {
		t.Errorf("the late one has %d packets before its delivery", n)
	}
	dev.DeliverLate(all[1], at, ps[:1])
	dev.DeliverLate(all[1], at, ps[1:])
	dev.DeliverLate(all[2], at, ps)
	want := ring.Totals{Captured: 3}
	want.Drops[ring.Malformed] = 1
	if a, b, c := prompt.Totals(), late.Totals(), after.Totals(); a != want || b != want || c != (ring.Totals{}) {
		t.Errorf("prompt %+v, late %+v, want %+v; bound after %+v", a, b, want, c)
	}
	for i := range byte(3) {
		f, ok := reader.Next()
		if !ok || f.Data[14] != i {
			t.Errorf("packet %d: %v, % x", i, ok, f.Data)
		}
		if tci := f.VLANTCI; ok && (tci == 7) != (i == 1) {
			t.Errorf("packet %d: tag %d", i, tci)
		}
	}
	if in, _ := dev.Traffic(); in.Packets != 4 || dev.Malformed() != 2 {
		t.Errorf("the device counts %+v, %d malformed", in, dev.Malformed())
	}
}

// None of a group's members is to wait for another; a socket that nobody holds is not
// waited for.
func TestAReceiverOfSeveralSocketsHasRoom(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	req := tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 12, BlockNr: 1, FrameSize: 1 << 11, FrameNr: 2}}
	first, _ := reading(t, dev, tpacket.V2, req)
	if err := first.JoinFanout(rxring.FanoutConfig{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		dev.Deliver(&rxring.Packet{Data: make([]byte, 60)})
	}
	room := func() int { return dev.Receivers(nil)[0].RoomFor(5) }
	if got := room(); got != 0 {
		t.Errorf("a group of one, full: room for %d of 5", got)
	}
	first.SetHeld(false)
	if got := room(); got != 5 {
		t.Errorf("nobody holds its socket: room for %d of 5", got)
	}
	first.SetHeld(true)
	second, _ := reading(t, dev, tpacket.V2, req)
	if err := second.JoinFanout(rxring.FanoutConfig{}); err != nil {
		t.Fatal(err)
	}
	if got := room(); got != 5 {
		t.Errorf("a group of two: room for %d of 5", got)
	}
}

// cookedFilters returns the filters that libpcap attaches for `-i any`, by expression.
func cookedFilters(t *testing.T) map[string][]cbpf.Instruction {
	f, err := os.Open("cbpf/testdata/live_any.txt")
	rxtest.Must(t, err)
	defer f.Close()
	all := make(map[string][]cbpf.Instruction)
	expression := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if e, ok := strings.CutPrefix(lines.Text(), "# "); ok {
			expression = e
			continue
		}
		var in cbpf.Instruction
		_, err := fmt.Sscan(lines.Text(), &in.Op, &in.Jt, &in.Jf, &in.K)
		rxtest.Must(t, err)
		all[expression] = append(all[expression], in)
	}
	for expression, prog := range all {
		if _, err := cbpf.Compile(prog); err != nil {
			delete(all, expression) // libpcap runs it itself
		}
	}
	return all
}

// received returns the one packet in the queue of a socket.
func received(s *rxring.Socket) ([]byte, bool) {
	b := make([]byte, 200)
	m, err := s.Recv(b, 0)
	return b[:m.N], err == nil
}

// A source that runs a SOCK_DGRAM socket's filter as Filters returns it, for a SOCK_RAW socket,
// delivers all that the socket accepts and, but for outgoing packets with tags, nothing else.
func TestFiltersOfSockDgramAreThoseOfSockRaw(t *testing.T) {
	tcp := rxtest.TCPFrame(60)
	packets := map[string]rxring.Packet{
		"a TCP segment":             {Data: tcp},
		"to another host":           {Data: append([]byte{2, 9, 9, 9, 9, 9}, tcp[6:]...)},
		"in pieces":                 {Data: tcp[:20], Rest: [][]byte{tcp[20:37], tcp[37:]}},
		"sent":                      {Data: tcp, Outgoing: true},
		"with a tag":                {Data: rxtest.TCPFrame(60, 5)},
		"with two tags":             {Data: rxtest.TCPFrame(60, 5, 6)},
		"with a tag beside it":      {Data: tcp, VLAN: rxring.VLAN{TPID: tpacket.ETHP8021Q, TCI: 5}},
		"sent with a tag":           {Data: rxtest.TCPFrame(60, 5), Outgoing: true},
		"sent with two tags":        {Data: rxtest.TCPFrame(60, 5, 6), Outgoing: true},
		"sent with a tag beside it": {Data: tcp, VLAN: rxring.VLAN{TPID: tpacket.ETHP8021Q, TCI: 5}, Outgoing: true},
		"a header and nothing else": {Data: tcp[:14]},
		"LLDP":                      {Data: rxtest.Ethernet(0x88cc, 100)},
		"truncated":                 {Data: tcp[:40], Len: len(tcp)},
		"IP alone":                  {Data: tcp[14:]},
		"IP alone, behind a header": {Data: append([]byte{1, 2, 3, 4}, tcp[14:]...), Link: &rxring.Link{HeaderLen: 4, Protocol: tpacket.ETHPIP}},
	}
	filters := cookedFilters(t)
	filters["a verdict that is computed"] = rxtest.KeepLen()
	pushed := 0
	for expression, prog := range filters {
		for _, typ := range []rxring.DeviceType{rxring.Ethernet, rxring.Loopback, rxring.RawIP} {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", Type: typ, HardwareAddr: rxtest.OwnAddr})
			cooked, err := ns.Socket(rxring.SockDgram, 0)
			rxtest.Must(t, err, cooked.AttachFilter(prog), cooked.BindDevice(dev, tpacket.ETHPAll))
			programs, all := dev.Filters()
			if all {
				if typ.Ethernet() {
					t.Errorf("%s: no filter for type %v", expression, typ)
				}
				continue
			}
			pushed++
			raw, err := ns.Socket(rxring.SockRaw, 0)
			rxtest.Must(t, err, raw.AttachFilter(programs[0]), raw.BindDevice(dev, tpacket.ETHPAll))
			for what, p := range packets {
				dev.Deliver(&p)
				want, got := received(cooked)
				have, source := received(raw)
				more := p.Outgoing && strings.Contains(what, "tag")
				if got && !source || source && !got && !more {
					t.Errorf("%s, type %v: %s: the socket accepts it: %v, a source: %v\n%v", expression, typ, what, got, source, programs[0])
				} else if got && !bytes.HasSuffix(have, want) {
					t.Errorf("%s, type %v: %s: % x from the source, want % x at its end", expression, typ, what, have, want)
				}
			}
			rxtest.Must(t, cooked.Close(), raw.Close())
		}
	}
	if pushed < 2*len(filters) {
		t.Errorf("%d filters of %d are for sources", pushed, 3*len(filters))
	}
}
