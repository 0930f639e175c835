package attach_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// TestNoninterference: a peer learns nothing of the packets and bytes that its grant hides.
//
// Two worlds differ only in these: in hidden bytes of packets, in packets that the filter
// refuses, in packets on devices that are hidden. A peer does the same in both. All that
// it can observe must be equal: each byte of its ring, each answer to a call (packets,
// counts, options, readiness, status, devices), and whether it is woken.
//
// A long run: go test ./attach -run Noninterference -rapid.checks 100000
func TestNoninterference(t *testing.T) {
	need.Time(t, "it compares many runs")
	looked := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		s := drawStory(rt)
		one, other := s.observe(t, 0), s.observe(t, 1)
		for i, line := range one {
			if line != other[i] {
				rt.Fatalf("%v\na peer sees what is hidden from it, in step %d:\n%s\nand in another world:\n%s", s, i, line, other[i])
			}
			what, _, _ := strings.Cut(line, ":")
			looked[what]++
		}
	})
	if !t.Failed() {
		t.Logf("compared: %v", looked)
	}
}

// TestNoninterferenceLooks shows that the property can fail: without the grant, the
// worlds differ in all that a peer looks at.
func TestNoninterferenceLooks(t *testing.T) {
	need.Time(t, "it compares many runs")
	missing := []string{"ring", "poll", "woken", "recv", "counts", "statistics", "status"}
	stories := rapid.Custom(drawStory)
	for seed := range 200 {
		s := stories.Example(seed)
		s.grant = attach.Grant{}
		one, other := s.observe(t, 0), s.observe(t, 1)
		for i := range min(len(one), len(other)) {
			if one[i] != other[i] {
				what, _, _ := strings.Cut(one[i], ":")
				missing = slices.DeleteFunc(missing, func(m string) bool { return m == what })
			}
		}
		if len(missing) == 0 {
			return
		}
	}
	t.Errorf("in no run did these show what a grant hides: %v", missing)
}

// story is what happens in both worlds.
type story struct {
	grant   attach.Grant
	account bool   // as another user than the daemon's has
	rule    string // what the grant says
	refused []func(*rapid.T) rxring.Packet
	cut     int // bytes of each packet that are shown
	sockets []socketKind
	fanout  *rxring.FanoutConfig
	steps   []step
}

// socketKind is how a socket gets its packets.
type socketKind struct {
	typ      rxring.SockType
	protocol uint16
	version  tpacket.Version
	ring     bool
	options  []int
	filter   string // of the spies
}

// step is a thing that happens: packets, or something that the peer does.
type step struct {
	packets []happening
	batch   bool
	does    string
	socket  int
	option  int
	filter  string
}

// happening is a packet in each world; absent where its Data is nil.
type happening struct {
	device int
	in     [2]rxring.Packet
}

func (s *story) String() string {
	return fmt.Sprintf("grant: %s; sockets: %+v; fanout: %+v", s.rule, s.sockets, s.fanout)
}

// The namespace's devices. The peer is never granted the last unless it is granted all.
var worldDevices = []string{"wg0", "fence0", "secret0"}

const (
	opRetA  = 0x16       // BPF_RET | BPF_A
	opTxa   = 0x87       // BPF_MISC | BPF_TXA
	adHash  = 0xfffff020 // SKF_AD_OFF + SKF_AD_RXHASH
	adPay   = 0xfffff034 // SKF_AD_OFF + SKF_AD_PAY_OFFSET
	showAll = 1 << 18
)

// ownFilters return what they load, so that the socket sees it in a packet's captured
// length.
var ownFilters = map[string][]cbpf.Instruction{
	"none":        nil,
	"load":        {{Op: 0x30, K: 50}, {Op: opRetA}},
	"indirect":    {{Op: 0x01, K: 30}, {Op: 0x50, K: 20}, {Op: opRetA}},
	"header":      {{Op: 0xb1, K: 50}, {Op: opTxa}, {Op: 0x04, K: 1}, {Op: opRetA}},
	"hash":        {{Op: 0x20, K: adHash}, {Op: 0x54, K: 0xff}, {Op: opRetA}},
	"payload":     {{Op: 0x20, K: adPay}, {Op: opRetA}},
	"length":      {{Op: 0x80}, {Op: opRetA}},
	"refuses all": {{Op: 0x06}},
}

func names[T any](m map[string]T) []string {
	var all []string
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func drawStory(rt *rapid.T) *story {
	s := &story{cut: showAll, account: rapid.Bool().Draw(rt, "account")}
	var rule []string
	keeps := rapid.SampledFrom([]uint32{showAll, showAll, 60}).Draw(rt, "keeps")
	switch rapid.SampledFrom([]string{"", "udp", "vlan", "long"}).Draw(rt, "refuses") {
	case "udp":
		rule = append(rule, "no UDP and no ARP")
		s.grant.Socket.Filter = []cbpf.Instruction{
			{Op: 0x28, K: 12}, {Op: 0x15, K: 0x806, Jt: 4}, {Op: 0x15, K: 0x800, Jf: 2}, // ldh [12]; jeq
			{Op: 0x30, K: 23}, {Op: 0x15, K: 17, Jt: 1}, // ldb [23]; jeq
			{Op: 0x06, K: keeps}, {Op: 0x06},
		}
		s.refused = append(s.refused,
			func(rt *rapid.T) rxring.Packet { p := drawPacket(rt, 34); p.Data[23] = 17; return p },
			func(rt *rapid.T) rxring.Packet { p := drawPacket(rt, 14); p.Data[13] = 6; return p })
	case "vlan":
		rule = append(rule, "no VLAN 5")
		s.grant.Socket.Filter = []cbpf.Instruction{
			{Op: 0x20, K: 0xfffff02c}, {Op: 0x15, K: 5, Jt: 1}, // ld vlan_tci; jeq
			{Op: 0x06, K: keeps}, {Op: 0x06},
		}
		s.refused = append(s.refused,
			func(rt *rapid.T) rxring.Packet {
				p := drawPacket(rt, 34)
				p.VLAN = rxring.VLAN{TPID: 0x8100, TCI: 5}
				return p
			},
			func(rt *rapid.T) rxring.Packet {
				p := drawPacket(rt, 34)
				p.Outgoing = false
				p.Data = slices.Insert(p.Data, 12, 0x81, 0, 0, 5)
				return p
			})
	case "long":
		rule = append(rule, "none longer than 400 bytes")
		s.grant.Socket.Filter = []cbpf.Instruction{
			{Op: 0x80}, {Op: 0x25, K: 400, Jt: 1}, // ld len; jgt
			{Op: 0x06, K: keeps}, {Op: 0x06},
		}
		s.refused = append(s.refused, func(rt *rapid.T) rxring.Packet { return drawPacket(rt, 401) })
	}
	if s.grant.Socket.Filter != nil {
		s.cut = int(keeps)
	}
	if n := rapid.SampledFrom([]int{0, 14, 34, 61}).Draw(rt, "snaplen"); n > 0 {
		s.grant.Socket.Snaplen = n
		s.cut = min(s.cut, n)
	}
	if len(s.refused) == 0 && s.cut == showAll || rapid.Bool().Draw(rt, "hides a device") {
		rule = append(rule, "not secret0")
		s.grant.Socket.Devices = func(d *rxring.Device) bool { return d.Name() != "secret0" }
	}
	s.rule = fmt.Sprintf("%s; %d bytes", strings.Join(rule, ", "), s.cut)
	s.drawSockets(rt)
	for range rapid.IntRange(5, 30).Draw(rt, "steps") {
		s.steps = append(s.steps, s.drawStep(rt))
	}
	return s
}

func (s *story) drawSockets(rt *rapid.T) {
	k := socketKind{
		typ:      rapid.SampledFrom([]rxring.SockType{rxring.SockRaw, rxring.SockDgram}).Draw(rt, "type"),
		protocol: rapid.SampledFrom([]uint16{tpacket.ETHPAll, tpacket.ETHPIP}).Draw(rt, "protocol"),
		version:  rapid.SampledFrom([]tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3}).Draw(rt, "version"),
		ring:     rapid.IntRange(0, 3).Draw(rt, "ring") > 0,
		filter:   rapid.SampledFrom(names(ownFilters)).Draw(rt, "own filter"),
	}
	for _, o := range []int{tpacket.OptAuxdata, tpacket.OptCopyThresh, tpacket.OptVnetHdr, tpacket.OptOrigdev} {
		if rapid.IntRange(0, 3).Draw(rt, "option") == 0 && (o != tpacket.OptVnetHdr || k.typ == rxring.SockRaw) {
			k.options = append(k.options, o)
		}
	}
	s.sockets = []socketKind{k}
	if rapid.IntRange(0, 2).Draw(rt, "fanout") == 0 {
		s.sockets = append(s.sockets, k)
		s.fanout = &rxring.FanoutConfig{
			ID:    7,
			Mode:  rapid.SampledFrom([]rxring.FanoutMode{rxring.FanoutHash, rxring.FanoutLB, rxring.FanoutRollover}).Draw(rt, "mode"),
			Flags: rapid.SampledFrom([]rxring.FanoutFlags{0, rxring.FanoutFlagDefrag}).Draw(rt, "flags"),
		}
	}
}

// drawPacket is a TCP packet of at least n bytes.
func drawPacket(rt *rapid.T, n int) rxring.Packet {
	n = rapid.IntRange(max(n, 54), max(n, 400)).Draw(rt, "length")
	b := frame(0, n)
	copy(b[12:], []byte{8, 0, 0x45, 0, byte((n - 14) >> 8), byte(n - 14), 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2})
	copy(b[34:], rapid.SliceOfN(rapid.Byte(), 14, 14).Draw(rt, "TCP header"))
	return rxring.Packet{Data: b, Timestamp: 1e9, Outgoing: rapid.IntRange(0, 3).Draw(rt, "outgoing") == 0, Hash: uint32(n)}
}

func (s *story) drawStep(rt *rapid.T) (st step) {
	st.does = rapid.SampledFrom([]string{"packets", "packets", "packets", "packets", "recv", "peek", "release", "option", "filter", "status", "arm", "statistics"}).Draw(rt, "step")
	st.socket = rapid.IntRange(0, len(s.sockets)-1).Draw(rt, "socket")
	switch st.does {
	case "packets":
		st.batch = rapid.Bool().Draw(rt, "batch")
		for range rapid.IntRange(1, 6).Draw(rt, "packets") {
			st.packets = append(st.packets, s.drawHappening(rt))
		}
	case "option":
		st.option = rapid.IntRange(tpacket.OptCopyThresh, tpacket.OptVnetHdrSz).Draw(rt, "option")
	case "filter":
		st.filter = rapid.SampledFrom(names(ownFilters)).Draw(rt, "filter")
	}
	return st
}

func (s *story) drawHappening(rt *rapid.T) (h happening) {
	if s.grant.Socket.Devices != nil && rapid.IntRange(0, 2).Draw(rt, "on a hidden device") == 0 {
		h.device = slices.Index(worldDevices, "secret0")
		h.in[rapid.IntRange(0, 1).Draw(rt, "world")] = drawPacket(rt, 0)
		return h
	}
	if len(s.refused) > 0 && rapid.IntRange(0, 1).Draw(rt, "refused") == 0 {
		h.in[rapid.IntRange(0, 1).Draw(rt, "world")] = rapid.SampledFrom(s.refused).Draw(rt, "kind")(rt)
		return h
	}
	p := drawPacket(rt, 0)
	from := max(s.cut, 24) // a filter looks at the first bytes
	switch rapid.IntRange(0, 4).Draw(rt, "tag") {
	case 0:
		p.VLAN = rxring.VLAN{TPID: 0x8100, TCI: 6}
	case 1:
		p.Data = slices.Insert(p.Data, 12, 0x81, 0, 0, 6)
		if !p.Outgoing {
			from += 4 // the tag moves beside the packet
		}
		if len(p.Data) > 400 {
			p.Data = p.Data[:400]
		}
	}
	h.in = [2]rxring.Packet{p, p}
	h.in[1].Data = slices.Clone(p.Data)
	if from < len(p.Data) {
		copy(h.in[1].Data[from:], rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(rt, "hidden bytes"))
		h.in[1].Hash ^= 0x5555
	}
	if n := rapid.IntRange(0, len(p.Data)).Draw(rt, "pieces"); n >= 14 {
		for i := range h.in {
			p := &h.in[i]
			p.Data, p.Rest = p.Data[:n], [][]byte{p.Data[n:]}
		}
	}
	return h
}

// world is where a story happens.
type world struct {
	*story
	t       testing.TB
	number  int
	devices []*rxring.Device
	passed  map[string]uint64 // packets at each device, as a source counts them
	client  *attach.Client
	peers   []*observer
	fence   *attach.Socket
	fenced  bell
	seen    []string
}

// observer is one of the peer's sockets.
type observer struct {
	*attach.Socket
	memory ring.Memory
	reader *ring.Reader
	blocks int // bytes of a V3 block; 0: none
	bell   bell
}

// observe is what a peer sees of a story in a world, 0 or 1.
func (s *story) observe(t testing.TB, number int) []string {
	w := &world{story: s, t: t, number: number, passed: make(map[string]uint64), fenced: make(bell, 1)}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{FirstIndex: 7})
	for _, name := range worldDevices {
		d, err := ns.AddDevice(rxring.DeviceConfig{Name: name, HardwareAddr: [6]byte{2, 0, 0, 0, 0, 9}})
		must(t, err)
		w.devices = append(w.devices, d)
	}
	grant := s.grant
	if s.account {
		grant.Socket.Account = rxring.NewAccount()
	}
	srv, err := attach.Listen(t.TempDir()+"/s", attach.Config{
		Namespace: ns,
		Grant:     func(attach.Peer) (attach.Grant, error) { return grant, nil },
		Describe: func(d *rxring.Device) attach.Description {
			return attach.Description{Source: "test", Counters: map[string]uint64{"packets": w.passed[d.Name()]}}
		},
	})
	must(t, err)
	defer srv.Close()
	w.client, err = attach.Dial(t.Context(), srv.Addr())
	must(t, err)
	defer w.client.Close()
	w.fence = socket(t, w.client, rxring.SockRaw)
	bind(t, w.fence, w.devices[1].Index())
	for _, k := range s.sockets {
		o := w.open(k)
		if o.memory != nil {
			defer o.memory.Close()
		}
		w.peers = append(w.peers, o)
	}
	for _, st := range s.steps {
		w.do(st)
		w.look()
	}
	w.do(step{does: "status"})
	for _, o := range w.peers {
		o.Close()
		w.see("counts", "at the end %+v", o.Totals())
	}
	return w.seen
}

const observedBlock = 4096

func (w *world) open(k socketKind) *observer {
	s := socket(w.t, w.client, k.typ)
	o := &observer{Socket: s, bell: make(bell, 1)}
	for _, opt := range k.options {
		w.see("set", "%d: %v", opt, s.Setsockopt(tpacket.SolPacket, opt, u32(1)))
	}
	w.see("set", "filter: %v", setOwnFilter(s, k.filter))
	if k.ring {
		must(w.t, s.Setsockopt(tpacket.SolPacket, tpacket.OptVersion, u32(uint32(k.version))))
		const slot = 512
		req := tpacket.Req3{
			Req:            tpacket.Req{BlockSize: observedBlock, BlockNr: 2, FrameSize: slot, FrameNr: 2 * observedBlock / slot},
			RetireBlkTov:   1 << 30, // blocks are retired when they are full
			FeatureReqWord: tpacket.FeatureFillRxhash,
		}
		val := tpacket.Bytes(&req)
		if k.version != tpacket.V3 {
			val = tpacket.Bytes(&req.Req)
		}
		must(w.t, s.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, val))
		g, ok := s.Geometry()
		if !ok {
			w.t.Fatal("no ring")
		}
		fd, err := s.Map(g.Size())
		must(w.t, err)
		o.memory, err = ring.MapMemory(fd, g.Size())
		must(w.t, err)
		must(w.t, s.Mapped())
		o.reader, err = ring.NewReader(o.memory, g, nil)
		must(w.t, err)
		if k.version == tpacket.V3 {
			o.blocks = observedBlock
		}
	}
	must(w.t, s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(w.devices[0].Index()), Protocol: tpacket.Htons(k.protocol)}))
	if w.fanout != nil {
		v := tpacket.FanoutArgs(w.fanout.ID, uint8(w.fanout.Mode), uint16(w.fanout.Flags))
		must(w.t, s.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, u32(v)))
	}
	return o
}

func setOwnFilter(s *attach.Socket, name string) error {
	if prog := ownFilters[name]; prog != nil {
		return s.AttachFilter(prog)
	}
	return s.Setsockopt(1, unix.SO_DETACH_FILTER, u32(0))
}

// see notes something that the peer has observed.
func (w *world) see(what, format string, args ...any) {
	w.seen = append(w.seen, what+": "+fmt.Sprintf(format, args...))
}

func (w *world) do(st step) {
	o := w.peers[st.socket]
	switch st.does {
	case "packets":
		w.deliver(st)
	case "recv", "peek":
		b := make([]byte, 1000)
		m, err := o.Recv(b, rxring.MsgTrunc|map[string]rxring.RecvFlags{"peek": rxring.MsgPeek}[st.does])
		w.see("recv", "%+v %v % x", m, err, b[:m.Copied])
	case "release":
		if o.reader != nil {
			f, ok := o.reader.Next()
			w.see("frame", "%v % x", ok, f.Data)
			if ok {
				f.Release()
			}
		}
	case "option":
		b := make([]byte, 64)
		n, err := o.Getsockopt(tpacket.SolPacket, st.option, b)
		w.see("option", "%d: % x %v", st.option, b[:n], err)
	case "filter":
		w.see("set", "filter: %v", setOwnFilter(o.Socket, st.filter))
	case "arm":
		o.Poll(o.bell)
		o.Totals() // an answer: the server has armed the socket before, as it has served opArm
	case "statistics":
		var st tpacket.Stats3
		_, err := o.Getsockopt(tpacket.SolPacket, tpacket.OptStatistics, tpacket.Bytes(&st))
		w.see("statistics", "%+v %v", st, err)
	case "status":
		status, err := w.client.Status()
		status.Time = time.Time{}
		for i := range status.Sockets {
			status.Sockets[i].Opened = time.Time{}
		}
		b, err2 := json.Marshal(status)
		w.see("status", "%s %v %v", b, err, err2)
	}
}

func (w *world) deliver(st step) {
	var batch []rxring.Packet
	for _, h := range st.packets {
		p := h.in[w.number]
		if p.Data == nil {
			continue
		}
		d := w.devices[h.device]
		w.passed[d.Name()]++
		p.Data = slices.Clone(p.Data) // a device may change it
		switch {
		case st.batch && h.device == 0:
			batch = append(batch, p)
		default:
			d.Deliver(&p)
		}
	}
	if len(batch) > 0 {
		w.devices[0].DeliverBatch(batch)
	}
}

// look looks at all that can be seen at any time.
func (w *world) look() {
	w.passFence()
	for i, o := range w.peers {
		select {
		case <-o.bell:
			w.see("woken", "%d: true", i)
		default:
			w.see("woken", "%d: false", i)
		}
		e, readable, queued := o.Poll(nil)
		w.see("poll", "%d: %#x %v %d", i, e, readable, queued)
		w.see("counts", "%d: %+v sent %d", i, o.Totals(), o.Sent())
		if o.memory != nil {
			b := bytes.Clone(o.memory.Bytes())
			if o.blocks > 0 {
				for block := range slices.Chunk(b, o.blocks) {
					clear(block[32:40]) // ts_first_pkt is when the block was opened
				}
			}
			w.see("ring", "%d: % x", i, b)
		}
	}
	for _, d := range w.client.Namespace().Devices() {
		in, out := d.Traffic()
		w.see("device", "%s %d %v %v %v", d.Name(), d.Index(), d.Up(), in, out)
	}
}

// passFence returns when the peer has got every event of what was delivered before: events
// come in order.
func (w *world) passFence() {
	w.fence.Poll(w.fenced)
	p := rxring.Packet{Data: frame(0, 100), Timestamp: 1e9}
	w.devices[1].Deliver(&p)
	w.fenced.wait(w.t)
	w.fence.Discard()
}
