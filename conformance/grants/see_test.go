package grants_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/tpacket"
)

var (
	retA = cbpf.Instruction{Op: 0x16}
	txa  = cbpf.Instruction{Op: 0x87}
)

// spies are filters that return what they load: the socket sees it in tp_snaplen.
var spies = map[string][]cbpf.Instruction{
	"no filter":          nil,
	"absolute load":      {{Op: 0x30, K: 50}, retA},
	"word across":        {{Op: 0x20, K: 33}, {Op: 0x54, K: 0xff}, retA},
	"indirect load":      {{Op: 0x01, K: 30}, {Op: 0x50, K: 20}, retA},
	"link-layer offset":  {{Op: 0x30, K: cbpf.LLOff + 50}, retA},
	"network offset":     {{Op: 0x30, K: cbpf.NetOff + 36}, retA},
	"indirect from link": {{Op: 0x01, K: 50}, {Op: 0x50, K: cbpf.LLOff}, retA},
	"header length":      {{Op: 0xb1, K: 50}, txa, {Op: 0x04, K: 1}, retA},
	"flow hash":          {{Op: 0x20, K: cbpf.AdOff + 32}, {Op: 0x54, K: 0xff}, retA},
	"payload offset":     {{Op: 0x20, K: cbpf.AdOff + 52}, retA},
	"netlink attribute":  {{Op: 0x00, K: 40}, {Op: 0x01, K: 0x3333}, {Op: 0x20, K: cbpf.AdOff + 12}, {Op: 0x04, K: 1}, retA},
	"length":             {{Op: 0x80}, retA},
}

// kind is a way to look at packets.
type kind struct {
	name     string
	typ      rxring.SockType
	version  tpacket.Version
	frame    uint32 // of the ring; 0: a queue
	protocol uint16
	options  []option
	members  int // of a fanout group, with mode; 0: none
	mode     rxring.FanoutMode
	flags    rxring.FanoutFlags
}

type option struct{ name, value int32 }

func kinds() (ks []kind) {
	for _, typ := range []rxring.SockType{rxring.SockRaw, rxring.SockDgram} {
		for _, protocol := range []uint16{tpacket.ETHPAll, tpacket.ETHPIP} {
			add := func(name string, v tpacket.Version, frame uint32, options ...option) {
				ks = append(ks, kind{name: fmt.Sprintf("type %d protocol %#x %s", typ, protocol, name), typ: typ, version: v, frame: frame, protocol: protocol, options: options})
			}
			add("queue", tpacket.V1, 0, option{tpacket.OptAuxdata, 1})
			add("V1", tpacket.V1, 512)
			add("V2", tpacket.V2, 512)
			add("V3 with flow hash", tpacket.V3, 512)
			add("whole copies", tpacket.V2, 96, option{tpacket.OptCopyThresh, 1}, option{tpacket.OptAuxdata, 1}) // cuts everything
			if typ == rxring.SockRaw {
				add("vnet header", tpacket.V2, 512, option{tpacket.OptVnetHdr, 1})
				add("queue with vnet header", tpacket.V2, 0, option{tpacket.OptVnetHdr, 1})
				add("V3 with vnet header", tpacket.V3, 512, option{tpacket.OptVnetHdr, 1})
			}
		}
	}
	for _, mode := range []rxring.FanoutMode{rxring.FanoutHash, rxring.FanoutLB, rxring.FanoutCBPF, rxring.FanoutRollover} {
		for _, flags := range []rxring.FanoutFlags{0, rxring.FanoutFlagDefrag, rxring.FanoutFlagRollover} {
			if mode == rxring.FanoutRollover && flags == rxring.FanoutFlagRollover {
				continue
			}
			ks = append(ks, kind{
				name: fmt.Sprintf("fanout mode %d flags %#x", mode, flags), typ: rxring.SockRaw, version: tpacket.V2, frame: 512,
				protocol: tpacket.ETHPAll, members: 3, mode: mode, flags: flags,
			})
		}
	}
	return ks
}

// lookBlock is the size of a ring's blocks, of which it has two.
const lookBlock = 4096

// look is all that sockets of one kind get to know of what deliver brings.
func look(t *testing.T, k kind, g *rxring.Grant, own []cbpf.Instruction, deliver func(*rxring.Namespace, *rxring.Device)) string {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", HardwareAddr: rxtest.OwnAddr})
	var ss []*rxring.Socket
	for range max(k.members, 1) {
		s, err := ns.Socket(k.typ, 0)
		rxtest.Must(t, err)
		defer s.Close()
		ss = append(ss, s)
		rxtest.Must(t, s.SetVersion(k.version))
		for _, o := range k.options {
			rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, int(o.name), rxtest.Int(o.value)))
		}
		if k.frame > 0 {
			rxtest.Must(t, s.SetRxRing3(tpacket.Req3{
				Req:            tpacket.Req{BlockSize: lookBlock, BlockNr: 2, FrameSize: k.frame, FrameNr: 2 * (lookBlock / k.frame)},
				RetireBlkTov:   1 << 30,
				FeatureReqWord: tpacket.FeatureFillRxhash,
			}))
		}
		if own != nil {
			rxtest.Must(t, s.AttachFilter(own))
		}
		rxtest.Must(t, s.BindDevice(dev, k.protocol))
		if k.members > 0 {
			rxtest.Must(t, s.JoinFanout(rxring.FanoutConfig{Mode: k.mode, Flags: k.flags}))
		}
	}
	if k.members > 0 && k.mode == rxring.FanoutCBPF {
		rxtest.Must(t, ss[0].SetFanoutProgram([]cbpf.Instruction{{Op: 0x30, K: 36}, retA}))
	}
	for _, s := range ss {
		rxtest.Must(t, s.SetGrant(g))
	}
	deliver(ns, dev)
	var b strings.Builder
	for i, s := range ss {
		switch r := s.Ring().(type) {
		case *writer.Ring:
			fmt.Fprintf(&b, "socket %d: % x\n", i, r.Memory().Bytes())
		case *writer.Blocks:
			r.Expire()
			for block := range slices.Chunk(r.Memory().Bytes(), lookBlock) {
				fmt.Fprintf(&b, "socket %d: % x\n", i, block[48:]) // behind its header, which has times
			}
		}
		for {
			buf := make([]byte, 4096)
			m, err := s.Recv(buf, rxring.MsgTrunc)
			if rxtest.Errno(err) == syscall.EAGAIN {
				break
			}
			fmt.Fprintf(&b, "%v %+v % x\n", err, m, buf[:m.Copied])
		}
		st, _ := rxtest.RolloverStats(s)
		fmt.Fprintf(&b, "%+v %+v %+v %d\n", s.Totals(), s.Statistics(), st, s.QueuedBytes())
	}
	return b.String()
}

// snaplenFrames are what is cut at a snaplen: the same packet, tagged in all ways.
var snaplenFrames = map[string]struct {
	frame []byte
	vlan  rxring.VLAN
	taken int // bytes of tags that come out of the frame when it comes in
}{
	"plain":         {rxtest.TCPFrame(200), rxring.VLAN{}, 0},
	"tag beside":    {rxtest.TCPFrame(200), rxring.VLAN{TPID: 0x8100, TCI: 5}, 0},
	"tagged":        {rxtest.TCPFrame(200, 0x8100, 5), rxring.VLAN{}, vlanLen},
	"tagged VLAN 0": {rxtest.TCPFrame(200, 0x8100, 0), rxring.VLAN{}, vlanLen},
	"tagged twice":  {rxtest.TCPFrame(200, 0x88a8, 5, 0x8100, 6), rxring.VLAN{}, vlanLen},
}

// TestNothingBeyondSnaplenIsToBeSeen: whatever the socket's kind, filter and
// options, and however a packet comes, bytes past Snaplen change nothing that the
// socket gets to know.
func TestNothingBeyondSnaplenIsToBeSeen(t *testing.T) {
	need.Time(t, "it tries every kind of socket and grant")
	const snaplen = 34 // the IPv4 header, and no port
	type way struct {
		name     string
		outgoing bool
		deliver  func(*rxring.Namespace, *rxring.Device, rxring.Packet)
	}
	once := func(_ *rxring.Namespace, d *rxring.Device, p rxring.Packet) { d.Deliver(&p) }
	ways := []way{
		{"comes in", false, once},
		{"leaves", true, once},
		{"in pieces", false, func(_ *rxring.Namespace, d *rxring.Device, p rxring.Packet) {
			b := p.Data
			p.Data, p.Rest = b[:15], [][]byte{{}, b[15:33], b[33:35], b[35:]}
			d.Deliver(&p)
		}},
		{"in many pieces", true, func(_ *rxring.Namespace, d *rxring.Device, p rxring.Packet) {
			b := p.Data
			p.Data = b[:14]
			for i := range b[14:] {
				p.Rest = append(p.Rest, b[14+i:][:1])
			}
			d.Deliver(&p)
		}},
		{"in a batch", false, func(_ *rxring.Namespace, d *rxring.Device, p rxring.Packet) {
			d.DeliverBatch([]rxring.Packet{p, p, p})
		}},
	}
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			differ := 0
			for name, f := range snaplenFrames {
				for _, w := range ways {
					for spy, own := range spies {
						if own != nil && (k.members > 0 || w.name != "comes in" && w.name != "in pieces") {
							continue
						}
						run := func(g *rxring.Grant, variant uint64) string {
							p := rxring.Packet{Data: slices.Clone(f.frame), VLAN: f.vlan, Outgoing: w.outgoing, Timestamp: 1, Hash: uint32(variant) * 77}
							from := snaplen
							if !w.outgoing {
								from += f.taken
							}
							for i, rng := from, rand.New(rand.NewPCG(variant, 0)); i < len(p.Data); i++ {
								p.Data[i] ^= byte(rng.Uint32()) * byte(min(variant, 1))
							}
							return look(t, k, g, own, func(ns *rxring.Namespace, d *rxring.Device) { w.deliver(ns, d, p) })
						}
						first, open := run(&rxring.Grant{Snaplen: snaplen}, 0), run(nil, 0)
						for variant := range uint64(2) {
							if got := run(&rxring.Grant{Snaplen: snaplen}, variant+1); got != first {
								t.Fatalf("%s, %s, %s: other bytes past %d show:\n%.3000s\nwas\n%.3000s", name, w.name, spy, snaplen, got, first)
							}
							if run(nil, variant+1) != open {
								differ++
							}
						}
						if got := run(&rxring.Grant{}, 0); got != open {
							t.Fatalf("%s, %s, %s: the zero grant changes something:\n%.3000s\nwas\n%.3000s", name, w.name, spy, got, open)
						}
					}
				}
			}
			if differ < 20 {
				t.Errorf("without a grant only %d runs show the bytes: the test looks at too little", differ)
			}
		})
	}
}

// vlanLen is a tag's bytes.
const vlanLen = 4

// TestSnaplenCountsFromTheLinkLayerHeader, wherever the socket's packets begin.
func TestSnaplenCountsFromTheLinkLayerHeader(t *testing.T) {
	for _, c := range []struct {
		name    string
		typ     rxring.SockType
		frame   []byte
		out     bool
		snaplen int
		own     uint32 // the socket's own filter keeps; 0: it has none
		want    int
		wantLen int
	}{
		{"raw", rxring.SockRaw, rxtest.TCPFrame(100), false, 50, 0, 50, 114},
		{"raw, one byte", rxring.SockRaw, rxtest.TCPFrame(100), false, 1, 0, 1, 114},
		{"raw, more than there is", rxring.SockRaw, rxtest.TCPFrame(100), false, 1000, 0, 114, 114},
		{"raw, all of it", rxring.SockRaw, rxtest.TCPFrame(100), false, 114, 0, 114, 114},
		{"raw, its own filter keeps less", rxring.SockRaw, rxtest.TCPFrame(100), false, 50, 20, 20, 114},
		{"raw, its own filter wants more", rxring.SockRaw, rxtest.TCPFrame(100), false, 50, 1 << 18, 50, 114},
		{"dgram", rxring.SockDgram, rxtest.TCPFrame(100), false, 50, 0, 36, 100},
		{"dgram, its own filter wants more", rxring.SockDgram, rxtest.TCPFrame(100), false, 50, 1 << 18, 36, 100},
		{"dgram, its own filter keeps less", rxring.SockDgram, rxtest.TCPFrame(100), false, 50, 35, 35, 100},
		{"raw, tagged", rxring.SockRaw, rxtest.TCPFrame(100, 0x8100, 5), false, 50, 0, 50, 114},
		{"dgram, tagged", rxring.SockDgram, rxtest.TCPFrame(100, 0x8100, 5), false, 50, 0, 36, 100},
		{"raw, a tag leaves", rxring.SockRaw, rxtest.TCPFrame(100, 0x8100, 5), true, 50, 0, 50, 118},
		{"dgram, a tag leaves: it is link-layer header", rxring.SockDgram, rxtest.TCPFrame(100, 0x8100, 5), true, 50, 0, 32, 100},
		{"dgram, nothing but the header, which a filter wants", rxring.SockDgram, rxtest.TCPFrame(100), false, 10, 9, 0, 100},
		{"dgram, nothing but the header", rxring.SockDgram, rxtest.TCPFrame(100), false, 14, 0, -1, 0},
	} {
		for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3} {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", HardwareAddr: rxtest.OwnAddr})
			s, err := ns.SocketFor(&rxring.Grant{Snaplen: c.snaplen}, c.typ, tpacket.ETHPAll)
			rxtest.Must(t, err)
			defer s.Close()
			r := rxtest.BlocksRequest
			if v != tpacket.V3 {
				r.Req = rxtest.SmallRing
			}
			rxtest.Must(t, s.SetVersion(v), s.SetRxRing3(r))
			if c.own > 0 {
				rxtest.Must(t, s.AttachFilter(rxtest.Keep(c.own)))
			}
			rd, err := s.NewReader()
			rxtest.Must(t, err)
			dev.Deliver(&rxring.Packet{Data: c.frame[:20], Rest: [][]byte{c.frame[20:]}, Outgoing: c.out})
			if v == tpacket.V3 {
				rxtest.Expire(s)
			}
			f, ok := rd.Next()
			if ok != (c.want >= 0) {
				t.Errorf("%s, %v: captured %v", c.name, v, ok)
			} else if ok && (len(f.Data) != c.want || f.Len != c.wantLen) {
				t.Errorf("%s, %v: %d of %d bytes, want %d of %d", c.name, v, len(f.Data), f.Len, c.want, c.wantLen)
			}
		}
	}
}

// TestOfRefusedPacketsThereIsNoTrace: packets that the grant's filter refuses
// change nothing that the socket gets to know, whatever is between them.
func TestOfRefusedPacketsThereIsNoTrace(t *testing.T) {
	need.Time(t, "it compares many runs")
	// VLAN 5, UDP, and fragments are refused.
	mandatory := []cbpf.Instruction{
		{Op: 0x20, K: cbpf.AdOff + 44},      // ld vlan_tci
		{Op: 0x15, K: 5, Jt: 9},             // jeq #5, refuse
		{Op: 0x28, K: 12},                   // ldh [12]
		{Op: 0x15, K: 0x800, Jf: 6},         // jeq #0x800, else accept
		{Op: 0x30, K: 23},                   // ldb [23]
		{Op: 0x15, K: 17, Jt: 5},            // jeq #17, refuse
		{Op: 0x28, K: 20},                   // ldh [20]
		{Op: 0x45, K: 0x3fff, Jt: 3},        // jset #0x3fff, refuse
		{Op: 0x80}, {Op: 0x15, K: 7, Jt: 1}, // ld len; never 7
		{Op: 0x06, K: 1 << 18},
		{Op: 0x06},
	}
	udp := rxtest.TCPFrame(200)
	udp[23] = 17
	first, last := rxtest.TCPFrame(48), rxtest.TCPFrame(48) // one packet, in two
	first[20] = 0x20
	binary.BigEndian.PutUint16(last[20:], 28/8)
	padded := func(b []byte) []byte { // the total length of the first must be a multiple of 8 behind its header
		b[16], b[17] = 0, 48
		return b
	}
	refused := []rxring.Packet{
		{Data: udp},
		{Data: udp[:14], Rest: [][]byte{udp[14:]}, Outgoing: true},
		{Data: padded(first[:14+44]), Timestamp: 1},
		{Data: last},
		{Data: rxtest.TCPFrame(200, 0x8100, 5)},
		{Data: rxtest.TCPFrame(200), VLAN: rxring.VLAN{TPID: 0x8100, TCI: 5}},
	}
	refused[2].Data[17] = 44
	refused[2].Data = refused[2].Data[:14+44]
	for i := range refused {
		refused[i].Timestamp = 1
	}
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			for spy, own := range spies {
				run := func(g *rxring.Grant, every int, batch bool) string {
					var ps []rxring.Packet
					for i := range 6 {
						if every > 0 && i%every == 0 {
							ps = append(ps, refused...)
						}
						p := rxring.Packet{Data: rxtest.TCPFrame(100 + i), Timestamp: 1}
						p.Data[35] = byte(i) // a flow each
						ps = append(ps, p)
					}
					return look(t, k, g, own, func(_ *rxring.Namespace, d *rxring.Device) {
						if batch {
							d.DeliverBatch(ps)
							return
						}
						for i := range ps {
							d.Deliver(&ps[i])
						}
					})
				}
				g := &rxring.Grant{Filter: mandatory}
				want := run(g, 0, false)
				for _, c := range []struct {
					every int
					batch bool
				}{{1, false}, {2, false}, {5, true}} {
					if got := run(g, c.every, c.batch); got != want {
						t.Fatalf("%s: refused packets at each %d show:\n%.3000s\nwas\n%.3000s", spy, c.every, got, want)
					}
				}
				if open := run(nil, 2, false); open == run(nil, 0, false) {
					t.Fatalf("%s: without a grant the packets do not show: the test looks at too little", spy)
				}
			}
		})
	}
}
