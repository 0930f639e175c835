package grants_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// anyProgram draws a program that Linux accepts.
func anyProgram(t *rapid.T, name string) []cbpf.Instruction {
	offset := rapid.OneOf(rapid.Uint32Range(0, 90), rapid.SampledFrom([]uint32{
		cbpf.LLOff, cbpf.LLOff + 30, cbpf.LLOff + 60, cbpf.NetOff, cbpf.NetOff + 20, cbpf.NetOff + 50, cbpf.AdOff + 52, cbpf.AdOff + 32, cbpf.AdOff, 1 << 31, ^uint32(0),
	}))
	constant := rapid.OneOf(rapid.Uint32Range(0, 300), rapid.Uint32())
	one := rapid.Custom(func(t *rapid.T) cbpf.Instruction {
		in := cbpf.Instruction{
			Op: rapid.SampledFrom([]uint16{
				0x20, 0x28, 0x30, 0x30, 0x40, 0x48, 0x50, 0xb1, // loads from the packet
				0x00, 0x01, 0x80, 0x81, 0x07, 0x87, 0x04, 0x54, 0x5c, 0xa4, // and others, arithmetic
				0x15, 0x25, 0x35, 0x45, 0x1d, 0x05, 0x06, 0x06, 0x16,
			}).Draw(t, "op"),
		}
		switch in.Op {
		case 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xb1:
			in.K = offset.Draw(t, "k")
		case 0x15, 0x25, 0x35, 0x45, 0x1d:
			in.Jt, in.Jf = rapid.Uint8Range(0, 2).Draw(t, "jt"), rapid.Uint8Range(0, 2).Draw(t, "jf")
			in.K = constant.Draw(t, "k")
		case 0x05:
			in.K = rapid.Uint32Range(0, 2).Draw(t, "k")
		default:
			in.K = constant.Draw(t, "k")
		}
		return in
	})
	prog := rapid.SliceOfN(one, 0, 12).Draw(t, name)
	end := cbpf.Instruction{Op: rapid.SampledFrom([]uint16{0x06, 0x16}).Draw(t, "end"), K: rapid.Uint32Range(0, 200).Draw(t, "keep")}
	prog = append(prog, end, end, end) // where jumps may lead
	if _, err := cbpf.Compile(prog); err != nil {
		t.Skip(err) //need: rapid draws another program
	}
	return prog
}

// grantIsAnd: a socket gets of a packet what the grant's filter, its snaplen and its
// own filter all let through, and what the own filter says depends on nothing else.
func grantIsAnd(t *rapid.T) {
	var (
		g       rxring.Grant
		own     []cbpf.Instruction
		length  = rapid.IntRange(34, 120).Draw(t, "length")
		typ     = rapid.SampledFrom([]rxring.SockType{rxring.SockRaw, rxring.SockDgram}).Draw(t, "type")
		there   = rapid.IntRange(14, length).Draw(t, "bytes of it") // the rest was cut off before
		first   = rapid.IntRange(14, there).Draw(t, "first piece")
		outgoes = rapid.Bool().Draw(t, "outgoing")
	)
	g.Snaplen = rapid.IntRange(0, 130).Draw(t, "snaplen")
	if rapid.Bool().Draw(t, "mandatory") {
		g.Filter = anyProgram(t, "mandatory filter")
	}
	if rapid.Bool().Draw(t, "filtered") {
		own = anyProgram(t, "own filter")
	}
	payload := rapid.SliceOfN(rapid.Byte(), length-14, length-14).Draw(t, "payload")
	data := rxtest.TaggedFrame(rxtest.OwnAddr, tpacket.ETHPIP, payload)[:there]

	// What must come out.
	p := cbpf.Packet{
		Data: data, Len: uint32(length), NetOff: 14, Ifindex: 2, Protocol: tpacket.ETHPIP, Hatype: tpacket.ARPHRDEther, RxHash: 99,
	}
	if outgoes {
		p.PacketType = uint8(tpacket.PacketOutgoing)
	}
	run := func(prog []cbpf.Instruction) uint32 {
		f, err := cbpf.Compile(prog)
		if err != nil {
			t.Fatal(err)
		}
		return f.Run(&p)
	}
	seen := uint32(there)
	if g.Snaplen > 0 {
		seen = min(seen, uint32(g.Snaplen))
	}
	if g.Filter != nil {
		seen = min(seen, run(g.Filter))
	}
	if typ == rxring.SockDgram {
		p.Start = 14
	}
	want := int64(max(seen, p.Start) - p.Start)
	captured := seen > 0 && want > 0
	if own != nil {
		p.Data = data[:seen]
		if seen < uint32(there) {
			p.RxHash = 0
		}
		verdict := run(own)
		want = min(want, int64(verdict))
		captured = seen > 0 && verdict > 0
	}

	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0", HardwareAddr: rxtest.OwnAddr})
	if err != nil {
		t.Fatal(err)
	}
	s, err := ns.SocketFor(&g, typ, tpacket.ETHPAll)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if own != nil {
		if err := s.AttachFilter(own); err != nil {
			t.Fatal(err)
		}
	}
	dev.Deliver(&rxring.Packet{Data: data[:first], Rest: [][]byte{data[first:]}, Len: length, Outgoing: outgoes, Hash: 99})
	buf := make([]byte, 200)
	m, err := s.Recv(buf, rxring.MsgTrunc)
	if captured != (err == nil) {
		t.Fatalf("captured %v (%v), want %v", err == nil, err, captured)
	}
	if captured && (int64(m.N) != want || !slices.Equal(buf[:m.Copied], data[p.Start:][:want]) || m.Auxdata.Len != uint32(length)-p.Start) {
		t.Fatalf("%d bytes of %d, % x: want %d, % x", m.N, m.Auxdata.Len, buf[:m.Copied], want, data[p.Start:][:want])
	}
}

func TestAGrantIsAnAnd(t *testing.T) { rapid.Check(t, grantIsAnd) }

func FuzzAGrantIsAnAnd(f *testing.F) { f.Fuzz(rapid.MakeFuzz(grantIsAnd)) }

// TestTheOwnFilterStaysTheSocketsOwn: attaching, reading back and locking it means
// what it meant, whatever the grant's filter does.
func TestTheOwnFilterStaysTheSocketsOwn(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	nothing, some := &rxring.Grant{Filter: rxtest.Keep(0)}, &rxring.Grant{Filter: rxtest.Keep(30)}
	s, err := ns.SocketFor(nothing, rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	captured := func(want int) {
		t.Helper()
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
		m, err := s.Recv(make([]byte, 100), 0)
		if want == 0 && rxtest.Errno(err) != syscall.EAGAIN || want > 0 && (err != nil || m.N != want) {
			t.Errorf("received %d bytes, %v: want %d", m.N, err, want)
		}
	}
	captured(0)
	if err := s.DetachFilter(); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("detach of no filter of its own: %v, want %v", err, syscall.ENOENT)
	}
	if _, n, err := s.GetFilter(0); n != 0 || err != nil {
		t.Errorf("a filter of %d instructions is attached, %v: want none", n, err)
	}
	rxtest.Must(t, s.SetGrant(some))
	captured(30)
	rxtest.Must(t, s.AttachFilter(rxtest.Keep(1<<18)))
	captured(30)
	rxtest.Must(t, s.AttachFilter(rxtest.Keep(20)), s.Setsockopt(rxtest.SolSocket, rxtest.SoLockFilter, rxtest.Int(1)))
	captured(20)
	if prog, _, err := s.GetFilter(10); err != nil || !slices.Equal(prog, rxtest.Keep(20)) {
		t.Errorf("the filter reads back as %v, %v", prog, err)
	}
	rxtest.Must(t, s.SetGrant(nothing)) // locked or not
	captured(0)
	if err := s.SetGrant(&rxring.Grant{Filter: []cbpf.Instruction{}}); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "mandatory filter") {
		t.Errorf("an empty program as a grant's filter: %v", err)
	}
	if err := s.SetGrant(&rxring.Grant{Snaplen: -1}); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "-1") {
		t.Errorf("a negative snaplen: %v", err)
	}
	captured(0) // as before
	rxtest.Must(t, s.SetGrant(nil))
	captured(20)
	if err := s.AttachFilter(rxtest.Keep(1)); !errors.Is(err, syscall.EPERM) {
		t.Errorf("attach to a locked filter: %v, want %v", err, syscall.EPERM)
	}
	long := make([]cbpf.Instruction, 4096) // as long as programs get, both of them
	for i := range long {
		long[i] = cbpf.Instruction{Op: 0x06, K: 40}
	}
	both, err := ns.SocketFor(&rxring.Grant{Filter: long}, rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	rxtest.Must(t, both.AttachFilter(long), both.Close())
	rxtest.Must(t, s.Close())
	if err := s.SetGrant(nil); !errors.Is(err, rxring.ErrClosed) {
		t.Errorf("grant for a closed socket: %v", err)
	}
	if _, err := ns.SocketFor(&rxring.Grant{Snaplen: -1}, rxring.SockRaw, 0); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("socket with a negative snaplen: %v", err)
	}
}

func TestWhatIsNotGrantedIsNotThere(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	ours := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "ours"})
	other := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "other"})
	s, err := ns.SocketFor(&rxring.Grant{Devices: rxtest.Only("ours", "later"), NoSend: true, Filter: rxtest.Keep(100)}, rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	sends, err := ns.SocketFor(&rxring.Grant{Devices: rxtest.Only("ours")}, rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer sends.Close()
	to := func(d *rxring.Device) *tpacket.SockaddrLL {
		return &tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(d.Index())}
	}
	sendTo := func(s *rxring.Socket, d *rxring.Device) error {
		_, err := s.SendTo(rxtest.Frame(60), to(d))
		return err
	}
	route := func(s *rxring.Socket, d *rxring.Device) error { _, err := s.Route(to(d)); return err }
	get := func(name int) error { _, err := s.Getsockopt(rxtest.SolSocket, name, make([]byte, 16)); return err }
	const bindtodevice, bindtoifindex, sndbufforce, rcvbufforce = 25, 62, 32, 33
	member, err := ns.SocketFor(&rxring.Grant{Snaplen: 20}, rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer member.Close()
	rxtest.Must(t, member.JoinFanout(rxring.FanoutConfig{ID: 9, Mode: rxring.FanoutCBPF}))
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"bind", s.BindDevice(other, tpacket.ETHPAll), syscall.ENODEV},
		{"membership", s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(other.Index(), 1, 0)), syscall.ENODEV},
		{"SO_BINDTODEVICE", s.Setsockopt(rxtest.SolSocket, bindtodevice, []byte("other\x00")), syscall.ENODEV},
		{"SO_BINDTOIFINDEX of any number", s.Setsockopt(rxtest.SolSocket, bindtoifindex, rxtest.Int(int32(other.Index()))), nil},
		{"and its name", get(bindtodevice), syscall.ENODEV},
		{"send", sendTo(sends, other), syscall.ENXIO},
		{"route", route(sends, other), syscall.ENXIO},
		{"send on what is granted", sendTo(sends, ours), nil},
		{"send without being granted to", sendTo(s, ours), syscall.EPERM},
		{"route without being granted to send", route(s, ours), syscall.EPERM},
		{"transmit ring", s.SetTxRing(rxtest.SmallRing), syscall.EPERM},
		{"SO_RCVBUFFORCE", s.Setsockopt(rxtest.SolSocket, rcvbufforce, rxtest.Int(1<<30)), syscall.EPERM},
		{"SO_SNDBUFFORCE", s.Setsockopt(rxtest.SolSocket, sndbufforce, rxtest.Int(1<<30)), syscall.EPERM},
		{"bind to what is granted", s.BindDevice(ours, tpacket.ETHPAll), nil},
		{"membership on it", s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(ours.Index(), 1, 0)), nil},
		{"SO_BINDTODEVICE to it", s.Setsockopt(rxtest.SolSocket, bindtodevice, []byte("ours\x00")), nil},
		{"and its name", get(bindtodevice), nil},
		{"bind to all", s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket}), nil},
		{"fanout program under a snaplen", member.SetFanoutProgram(rxtest.Keep(1)), syscall.EPERM},
		{"the same as an option", member.Setsockopt(tpacket.SolPacket, tpacket.OptFanoutData, make([]byte, 16)), syscall.EPERM},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		} else {
			t.Logf("%s: %v", c.name, c.err)
		}
	}
	if other.Promiscuous() {
		t.Error("a refused membership counts")
	}
	for range 3 {
		ours.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
		other.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	}
	later := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "later"})
	never := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "never"})
	later.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	never.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if got := s.Totals().Offered(); got != 1+3+1 { // one that the other socket sent
		t.Errorf("bound to all devices: offered %d packets, want 5", got)
	}
}

// TestADeviceThatIsRevokedIsGoneForTheSocket, and for nobody else.
func TestADeviceThatIsRevokedIsGoneForTheSocket(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	open := func() *rxring.Socket {
		s, err := ns.SocketFor(&rxring.Grant{Devices: rxtest.Only("net0")}, rxring.SockRaw, 0)
		rxtest.Must(t, err)
		t.Cleanup(func() { s.Close() })
		rxtest.Must(t, s.BindDevice(dev, tpacket.ETHPAll), s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(dev.Index(), 1, 0)))
		return s
	}
	s, stays, a, b := open(), open(), open(), open()
	rxtest.Must(t, a.JoinFanout(rxring.FanoutConfig{Mode: rxring.FanoutLB}), b.JoinFanout(rxring.FanoutConfig{Mode: rxring.FanoutLB}))
	nothing := &rxring.Grant{Devices: rxtest.Only()}
	rxtest.Must(t, s.SetGrant(nothing), a.SetGrant(nothing))
	for range 4 {
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	}
	for name, c := range map[string]struct {
		s    *rxring.Socket
		want uint64
	}{"revoked": {s, 0}, "another": {stays, 4}, "member, revoked": {a, 0}, "member": {b, 4}} {
		if got := c.s.Totals().Offered(); got != c.want {
			t.Errorf("%s: offered %d packets, want %d", name, got, c.want)
		}
	}
	if s.Addr().Ifindex != -1 || s.Events()&rxring.EventErr == 0 {
		t.Errorf("bound to %d, events %#x: want -1 and EventErr", s.Addr().Ifindex, s.Events())
	}
	if _, err := s.Recv(nil, 0); !errors.Is(err, syscall.ENETDOWN) {
		t.Errorf("receive: %v, want %v", err, syscall.ENETDOWN)
	}
	if _, err := s.Recv(nil, 0); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("receive again: %v, want %v", err, syscall.EAGAIN)
	}
	if _, err := s.Send(rxtest.Frame(60)); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("send: %v, want %v", err, syscall.ENXIO)
	}
	if n, _ := dev.Memberships(); n != 2 {
		t.Errorf("%d memberships, want those of the two others", n)
	}
	dev.SetUp(false)
	dev.SetUp(true) // does not bring it back
	rxtest.Must(t, s.SetGrant(nil))
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if got := s.Totals().Offered(); got != 0 {
		t.Errorf("offered %d packets after the device was granted again, without a bind", got)
	}
	rxtest.Must(t, s.BindDevice(dev, 0))
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if got := s.Totals().Offered(); got != 1 {
		t.Errorf("offered %d packets after a bind, want 1", got)
	}
}

func TestFanoutGroupsAreOfOneScope(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net1"})
	join := func(g *rxring.Grant, c rxring.FanoutConfig) *rxring.Socket {
		t.Helper()
		s, err := ns.SocketFor(g, rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		t.Cleanup(func() { s.Close() })
		rxtest.Must(t, s.JoinFanout(c))
		return s
	}
	lb := rxring.FanoutConfig{ID: 7, Mode: rxring.FanoutLB}
	mine, alsoMine := join(&rxring.Grant{Scope: 1}, lb), join(&rxring.Grant{Scope: 1}, lb)
	theirs := join(&rxring.Grant{Scope: 2}, rxring.FanoutConfig{ID: 7, Mode: rxring.FanoutHash}) // as if 7 were free
	nobodys := join(nil, lb)
	for range 4 {
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	}
	for name, c := range map[string]struct {
		s    *rxring.Socket
		want uint64
	}{"mine": {mine, 2}, "also mine": {alsoMine, 2}, "theirs": {theirs, 4}, "without a grant": {nobodys, 4}} {
		if got := c.s.Totals().Offered(); got != c.want {
			t.Errorf("%s: offered %d packets, want %d", name, got, c.want)
		}
	}
	unique := rxring.FanoutConfig{Flags: rxring.FanoutFlagUniqueID}
	for scope := range uint32(3) { // ids do not tell how many others took
		c, _ := join(&rxring.Grant{Scope: scope + 10}, unique).Fanout()
		if c.ID != 0 {
			t.Errorf("scope %d: the first unique id is %d", scope, c.ID)
		}
	}
	// A group on all devices gets nothing from one that a member is not granted.
	net0 := &rxring.Grant{Scope: 1, Devices: rxtest.Only("net0")}
	other, _ := ns.DeviceByName("net1")
	rxtest.Must(t, alsoMine.SetGrant(net0))
	before := mine.Totals().Offered() + alsoMine.Totals().Offered()
	for range 4 {
		other.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	}
	if got := mine.Totals().Offered() + alsoMine.Totals().Offered(); got != before {
		t.Errorf("the group got %d packets of a device that not all members are granted", got-before)
	}
	rxtest.Must(t, alsoMine.Close())
	other.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if got := mine.Totals().Offered(); got != 3 {
		t.Errorf("once that member was gone the other was offered %d packets, want 3", got)
	}
}

// TestWholeCopiesAreNotWhole under a snaplen.
func TestWholeCopiesAreNotWhole(t *testing.T) {
	for typ, want := range map[rxring.SockType]int{rxring.SockRaw: 50, rxring.SockDgram: 36} {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
		s, err := ns.SocketFor(&rxring.Grant{Snaplen: 50}, typ, tpacket.ETHPAll)
		rxtest.Must(t, err)
		defer s.Close()
		rxtest.Must(t, s.SetVersion(tpacket.V2), s.Setsockopt(tpacket.SolPacket, tpacket.OptCopyThresh, rxtest.Int(1)),
			s.SetRxRing(tpacket.Req{BlockSize: 4096, BlockNr: 1, FrameSize: 96, FrameNr: 42}))
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(600)})
		if n := s.QueuedBytes(); n != want {
			t.Errorf("type %d: SIOCINQ is %d, want %d", typ, n, want)
		}
		m, err := s.Recv(make([]byte, 1000), rxring.MsgTrunc)
		if err != nil || m.N != want || m.Copied != want || int(m.Auxdata.Snaplen) != want {
			t.Errorf("type %d: a copy of %d bytes, tp_snaplen %d, %v: want %d", typ, m.N, m.Auxdata.Snaplen, err, want)
		}
	}
}

func TestBudgetsPayForPrograms(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	const longest = 64 * 4096 // bytes for a program of 4096 instructions
	budget := rxring.NewBudget(2*longest + longest/2)
	open := func() *rxring.Socket {
		s, err := ns.SocketFor(&rxring.Grant{Budget: budget}, rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		return s
	}
	a, b := open(), open()
	prog := make([]cbpf.Instruction, 4096)
	prog[len(prog)-1] = cbpf.Instruction{Op: 0x06, K: 1} // ret #1
	rxtest.Must(t, a.AttachFilter(prog), a.AttachFilter(prog), b.AttachFilter(prog))
	rxtest.Must(t, a.JoinFanout(rxring.FanoutConfig{Mode: rxring.FanoutCBPF}))
	err := a.SetFanoutProgram(prog)
	if !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "program of 4096 instructions: 262144 bytes: the memory budget has 131072 of 655360 bytes left") {
		t.Errorf("a program past the budget: %v", err)
	}
	rxtest.Must(t, b.DetachFilter(), a.SetFanoutProgram(prog))
	if err := b.AttachFilter(prog); !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "filter of 4096 instructions") {
		t.Errorf("a filter past the budget: %v", err)
	}
	rxtest.Must(t, b.AttachFilter(prog[4000:]), a.SetFanoutProgram(prog[4000:]), b.AttachFilter(prog))
	rxtest.Must(t, a.Close(), b.Close())
	if n := budget.Held(); n != 0 {
		t.Errorf("%d bytes are still taken", n)
	}
}

// A budget with a reserve has that much memory for packets, whoever else takes what the
// namespace has in common.
func TestReservedMemory(t *testing.T) {
	const one = 8192
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 5 * one, Reserved: 3 * one})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	open := func(b *rxring.Budget) *rxring.Socket {
		s, err := ns.SocketFor(&rxring.Grant{Budget: b}, rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	const plenty = 100 * one
	greedy, named := rxring.NewBudget(plenty), rxring.NewBudgetWithReserve(plenty, 3*one)
	rxtest.Must(t, open(greedy).SetRxRing(rxtest.SmallRing), open(greedy).SetRxRing(rxtest.SmallRing))
	if err := open(greedy).SetRxRing(rxtest.SmallRing); !errors.Is(err, syscall.ENOMEM) {
		t.Errorf("a ring of reserved memory: %v", err)
	}
	queue := open(nil)
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(1000)})
	if got := queue.Totals(); got.Drops[ring.Full] != 1 {
		t.Errorf("a packet in reserved memory: %+v", got)
	}
	for range 2 { // what is given back is reserved again
		var its []*rxring.Socket
		for i := range 3 {
			s := open(named)
			if err := s.SetRxRing(rxtest.SmallRing); err != nil {
				t.Fatalf("ring %d of reserved memory: %v", i, err)
			}
			its = append(its, s)
		}
		if err := open(named).SetRxRing(rxtest.SmallRing); !errors.Is(err, syscall.ENOMEM) {
			t.Errorf("a ring past the reserve, when all else is taken: %v", err)
		}
		for _, s := range its {
			rxtest.Must(t, s.Close())
		}
	}
}

func TestBudgetsBoundWhatSocketsHoldTogether(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 1 << 20})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	const ringCost = 8192 + 4*8 // its memory, and a word for each slot
	budget := rxring.NewBudget(3 * ringCost)
	g := &rxring.Grant{Budget: budget}
	a, err := ns.SocketFor(g, rxring.SockRaw, 0)
	rxtest.Must(t, err)
	b, err := ns.SocketFor(g, rxring.SockRaw, 0)
	rxtest.Must(t, err)
	held := func(want int64) {
		t.Helper()
		if got := budget.Held(); got != want {
			t.Errorf("the budget has given %d bytes, want %d", got, want)
		}
	}
	rxtest.Must(t, a.SetRxRing(rxtest.SmallRing), a.SetTxRing(rxtest.SmallRing), b.SetRxRing(rxtest.SmallRing))
	held(3 * ringCost)
	err = b.SetTxRing(rxtest.SmallRing)
	if !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "ring of 8192 bytes: it takes 8224 bytes: the memory budget has 0 of 24672 bytes left: want a smaller ring, or a larger budget") {
		t.Errorf("past the budget: %v", err)
	}
	held(3 * ringCost)
	rxtest.Must(t, a.SetRxRing(tpacket.Req{}))
	held(2 * ringCost)
	if err := b.SetTxRing(tpacket.Req{BlockSize: 1 << 20, BlockNr: 2, FrameSize: 2048, FrameNr: 1024}); !errors.Is(err, syscall.ENOMEM) {
		t.Errorf("past both bounds: %v", err)
	}
	held(2 * ringCost)

	// Another budget is for what is taken from now on.
	next := rxring.NewBudget(1 << 20)
	rxtest.Must(t, b.SetGrant(&rxring.Grant{Budget: next}), b.SetTxRing(rxtest.SmallRing))
	held(2 * ringCost)
	if next.Held() != ringCost {
		t.Errorf("the new budget has given %d bytes, want %d", next.Held(), ringCost)
	}
	rxtest.Must(t, b.Close())
	held(ringCost)
	if next.Held() != 0 {
		t.Errorf("the new budget has still given %d bytes", next.Held())
	}
	rxtest.Must(t, a.Close())
	held(0)

	// Queues, and what a group holds back.
	q, err := ns.SocketFor(g, rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	rxtest.Must(t, q.Setsockopt(rxtest.SolSocket, 8, rxtest.Int(1<<20)))
	for range 100 {
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(1000)})
	}
	if got := q.Totals(); got.Captured == 0 || got.Drops[ring.Full] == 0 || budget.Held() > 3*8192 || budget.Held() == 0 {
		t.Errorf("%+v with %d bytes of the budget", got, budget.Held())
	}
	rxtest.Must(t, q.SetGrant(nil)) // what is queued stays the budget's
	for {
		if _, err := q.Recv(nil, 0); err != nil {
			break
		}
	}
	held(0)
	rxtest.Must(t, q.SetGrant(g))
	if err := q.JoinFanout(rxring.FanoutConfig{Flags: rxring.FanoutFlagDefrag}); !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "4194304 bytes") {
		t.Errorf("a group that holds more than the budget: %v", err)
	}
	held(0)
	large := rxring.NewBudget(5 << 20)
	rxtest.Must(t, q.SetGrant(&rxring.Grant{Budget: large}), q.JoinFanout(rxring.FanoutConfig{Flags: rxring.FanoutFlagDefrag}))
	if large.Held() != 4<<20 {
		t.Errorf("the group holds %d bytes", large.Held())
	}
	rxtest.Must(t, q.Close())
	if large.Held() != 0 {
		t.Errorf("the group that is gone holds %d bytes", large.Held())
	}
	rxtest.Must(t, func() error {
		s, err := ns.Socket(rxring.SockRaw, 0)
		rxtest.Must(t, err)
		defer s.Close()
		return s.SetRxRing(rxtest.SmallRing)
	}())
}

// TestAGrantIsReplacedAsAWhole: no packet is checked against half of one grant and half
// of the next, while several writers deliver.
func TestAGrantIsReplacedAsAWhole(t *testing.T) {
	need.Time(t, "it delivers for seconds")
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	a := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "a"})
	b := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "b"})
	grants := []*rxring.Grant{
		{Devices: rxtest.Only("a"), Filter: rxtest.Keep(20)},
		{Devices: rxtest.Only("b"), Snaplen: 30},
	}
	long := tpacket.Req{BlockSize: 1 << 16, BlockNr: 4, FrameSize: 256, FrameNr: 1024}
	var ss []*rxring.Socket
	for range 3 {
		s, err := ns.SocketFor(grants[0], rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		defer s.Close()
		rxtest.Must(t, s.SetVersion(tpacket.V2), s.SetRxRing(long))
		ss = append(ss, s)
	}
	rxtest.Must(t, ss[1].JoinFanout(rxring.FanoutConfig{Mode: rxring.FanoutLB}), ss[2].JoinFanout(rxring.FanoutConfig{Mode: rxring.FanoutLB}))
	var writers, readers sync.WaitGroup
	var stop atomic.Bool
	for w := range 4 {
		writers.Go(func() {
			d := []*rxring.Device{a, b}[w%2]
			p := rxring.Packet{Data: rxtest.Frame(100), Timestamp: 1}
			batch := slices.Repeat([]rxring.Packet{p}, 40)
			for !stop.Load() {
				d.DeliverBatch(batch)
				for range 20 {
					d.Deliver(&p)
				}
				runtime.Gosched() // or each change of a grant waits for every writer's time slice
			}
		})
	}
	var seen [2]atomic.Uint64
	for _, s := range ss {
		rd, err := s.NewReader()
		rxtest.Must(t, err)
		readers.Go(func() {
			for last := false; ; {
				for f, ok := rd.Next(); ok; f, ok = rd.Next() {
					want := map[int32]int{int32(a.Index()): 20, int32(b.Index()): 30}[f.From.Ifindex]
					if len(f.Data) != want {
						t.Errorf("%d bytes of a packet of device %d, want %d", len(f.Data), f.From.Ifindex, want)
					}
					seen[int(f.From.Ifindex)-a.Index()].Add(1)
					f.Release()
				}
				if last {
					return
				}
				last = stop.Load()
				runtime.Gosched()
			}
		})
	}
	const most = 1 << 20 // changes
	for i := range most {
		if i > 5000 && seen[0].Load() > 10000 && seen[1].Load() > 10000 {
			break
		}
		for _, s := range ss {
			rxtest.Must(t, s.SetGrant(grants[i%2]))
		}
		runtime.Gosched()
	}
	stop.Store(true)
	writers.Wait()
	readers.Wait()
	if seen[0].Load() == 0 || seen[1].Load() == 0 {
		t.Errorf("%d and %d packets, want some of both", seen[0].Load(), seen[1].Load())
	}
	// From now on is for each packet: none of what is revoked comes after SetGrant.
	for i := range 10 {
		rxtest.Must(t, ss[0].SetGrant(grants[i%2]))
		before := ss[0].Totals().Offered()
		[]*rxring.Device{b, a}[i%2].Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
		if got := ss[0].Totals().Offered(); got != before {
			t.Fatal("a packet of a revoked device was offered")
		}
	}
}

func TestDeliverToGrantedSocketsAllocatesNothing(t *testing.T) {
	for _, version := range []tpacket.Version{tpacket.V2, tpacket.V3} {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
		s, err := ns.SocketFor(&rxring.Grant{Devices: rxtest.Only("net0"), Filter: rxtest.Keep(1000), Snaplen: 300}, rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		defer s.Close()
		rxtest.Must(t, s.SetVersion(version), s.SetRxRing(tpacket.Req{BlockSize: 1 << 16, BlockNr: 2, FrameSize: 2048, FrameNr: 64}), s.AttachFilter(rxtest.Keep(200)))
		rd, err := s.NewReader()
		rxtest.Must(t, err)
		b := rxtest.Frame(700)
		batch := slices.Repeat([]rxring.Packet{{Data: b}}, 32)
		tagged := rxtest.TaggedFrame(dev.HardwareAddr(), 0x800, b, 0x8100, 5)
		for name, deliver := range map[string]func(){
			"whole":     func() { dev.Deliver(&rxring.Packet{Data: b}) },
			"in pieces": func() { dev.Deliver(&rxring.Packet{Data: b[:20], Rest: [][]byte{b[20:40], b[40:]}}) },
			"tagged":    func() { dev.Deliver(&rxring.Packet{Data: tagged}) },
			"in batch":  func() { dev.DeliverBatch(batch) },
		} {
			if allocs := testing.AllocsPerRun(500, func() { deliver(); rxtest.Drain(rd) }); allocs != 0 {
				t.Errorf("%v, %s: %v allocations", version, name, allocs)
			}
		}
		if got := s.Totals().Captured; got == 0 {
			t.Error("nothing was captured")
		}
	}
}

func TestRingsTellTheirShape(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	s, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	defer s.Close()
	if g, ok := s.Geometry(); ok || s.HasTxRing() {
		t.Errorf("without rings: %+v", g)
	}
	rxtest.Must(t, s.SetRxRing(rxtest.SmallRing), s.SetTxRing(rxtest.SmallRing))
	if g, ok := s.Geometry(); !ok || g != s.Ring().Geometry() || !s.HasTxRing() {
		t.Errorf("with rings: %+v, %v, transmit ring %v", g, ok, s.HasTxRing())
	}
	var asked []int
	s.SetMapped(func(memfd int) bool { asked = append(asked, memfd); return false })
	rxtest.Must(t, s.SetTxRing(tpacket.Req{}))
	if want := fmt.Sprint(s.Ring().(*writer.Ring).Memory().FD()); !strings.HasPrefix(strings.Trim(fmt.Sprint(asked), "[]"), want) || len(asked) != 2 {
		t.Errorf("asked about descriptors %v, want two, %s the first", asked, want)
	}
}
