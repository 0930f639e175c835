package rxring_test

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

func TestCallsThatLinuxRefusesGetItsErrno(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 1 << 20})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	plain, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	ringed, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	locked, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err, locked.Setsockopt(rxtest.SolSocket, rxtest.SoLockFilter, rxtest.Int(1)))
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
		{"reserve past an int", rxtest.SetInt(plain, tpacket.OptReserve, -1<<31), syscall.EINVAL},
		{"reserve of the wrong size", plain.Setsockopt(tpacket.SolPacket, tpacket.OptReserve, make([]byte, 8)), syscall.EINVAL},
		{"reserve with a ring", rxtest.SetInt(ringed, tpacket.OptReserve, 4), syscall.EBUSY},
		{"second ring", ringed.SetRxRing(rxtest.SmallRing), syscall.EBUSY},
		{"ring of no frames", plain.SetRxRing(tpacket.Req{BlockSize: 4096, BlockNr: 1, FrameSize: 2048}), syscall.EINVAL},
		{"ring request too short", plain.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, make([]byte, 15)), syscall.EINVAL},
		{"frames without blocks", plain.SetRxRing(tpacket.Req{FrameNr: 1}), syscall.EINVAL},
		{"ring past the memory bound", plain.SetRxRing(big), syscall.ENOMEM},
		{"filter of no instructions", plain.AttachFilter(nil), syscall.EINVAL},
		{"detach of no filter", plain.DetachFilter(), syscall.ENOENT},
		{"vnet header on a dgram socket", rxtest.SetInt(dgram, tpacket.OptVnetHdrSz, 0), syscall.EINVAL},
		{"vnet header of a size there is not", rxtest.SetInt(plain, tpacket.OptVnetHdrSz, 11), syscall.EINVAL},
		{"vnet header with a ring", rxtest.SetInt(ringed, tpacket.OptVnetHdrSz, 10), syscall.EBUSY},
		{"vnet header too short", plain.Setsockopt(tpacket.SolPacket, tpacket.OptVnetHdr, []byte{1}), syscall.EINVAL},
		{"attach to a locked filter", locked.AttachFilter(rxtest.Keep(1)), syscall.EPERM},
		{"detach of a locked filter", locked.Setsockopt(tpacket.SolSocket, 27, rxtest.Int(0)), syscall.EPERM},
		{"unlock", locked.Setsockopt(tpacket.SolSocket, 44, rxtest.Int(0)), syscall.EPERM},
		{"lock of the wrong size", locked.Setsockopt(tpacket.SolSocket, 44, nil), syscall.EINVAL},
		{"ignore outgoing beyond a flag", plain.Setsockopt(tpacket.SolPacket, tpacket.OptIgnoreOutgoing, rxtest.Int(2)), syscall.EINVAL},
		{"auxdata of the wrong size", plain.Setsockopt(tpacket.SolPacket, tpacket.OptAuxdata, []byte{1}), syscall.EINVAL},
		{"membership on a device there is not", plain.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, mreq(99, 1, 0)), syscall.ENODEV},
		{"membership with a long address", plain.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, mreq(int32(dev.Index()), 0, 7)), syscall.EINVAL},
		{"membership too short", plain.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, make([]byte, 15)), syscall.EINVAL},
		{"receive timeout with too many microseconds", plain.Setsockopt(tpacket.SolSocket, 20, append(make([]byte, 8), 0, 0, 0, 0, 1, 0, 0, 0)), syscall.EDOM},
		{"receive timeout too short", plain.Setsockopt(tpacket.SolSocket, 20, rxtest.Int(1)), syscall.EINVAL},
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
		{"reader without a ring", func() error { _, err := plain.NewReader(); return err }(), syscall.EINVAL},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		} else {
			t.Logf("%s: %v", c.name, c.err)
		}
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

func TestPromiscuousWhileRequested(t *testing.T) {
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

func TestPollersHearThatADeviceWentDown(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err, s.BindDevice(dev, tpacket.ETHPAll))
	defer s.Close()
	var w countingWaker
	s.Arm(&w)
	dev.SetUp(false)
	dev.SetUp(false)
	if w.Load() != 1 || s.Events() != rxring.EventErr || dev.Up() || dev.HasListeners() {
		t.Errorf("woken %d times, events %#x, up %v, watched %v", w.Load(), s.Events(), dev.Up(), dev.HasListeners())
	}
	if _, err := s.Recv(nil, 0); !errors.Is(err, syscall.ENETDOWN) {
		t.Errorf("%v, want %v", err, syscall.ENETDOWN)
	}
	if _, err := s.Recv(nil, 0); !errors.Is(err, syscall.EAGAIN) || s.Events() != 0 {
		t.Errorf("%v, events %#x: want %v, once the error is taken", err, s.Events(), syscall.EAGAIN)
	}
	dev.SetUp(true)
	if !dev.HasListeners() {
		t.Error("not watched though it is up again")
	}
}

// TestWatchIsToldBeforeTheCallReturns: of all that changes what sockets want, and of
// nothing else.
func TestWatchIsToldBeforeTheCallReturns(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", HardwareAddr: rxtest.OwnAddr})
	other := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net1"})
	var calls int
	var watched bool
	dev.OnInterestChange(func() {
		calls++
		watched = dev.HasListeners()
		ns.Devices() // the namespace is not locked
		dev.Filters()
	})
	if calls != 1 || watched {
		t.Fatalf("OnInterestChange: %d calls, watched: %v", calls, watched)
	}
	s, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	group := rxtest.Mreq(dev.Index(), 0, 6, 1, 0, 0x5e, 0, 0, 1)
	for _, step := range []struct {
		what    string
		do      func() error
		told    bool
		watched bool
	}{
		{"a filter of a socket that is not bound", func() error { return s.AttachFilter(rxtest.Keep(9)) }, false, false},
		{"bound", func() error { return s.BindDevice(dev, tpacket.ETHPAll) }, true, true},
		{"bound once more", func() error { return s.BindDevice(dev, tpacket.ETHPAll) }, false, true},
		{"promiscuous", func() error {
			return s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(dev.Index(), 1, 0))
		}, true, true},
		{"a group", func() error { return s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, group) }, true, true},
		{"a group of another device", func() error {
			return s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(other.Index(), 1, 0))
		}, false, true},
		{"the group again", func() error { return s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, group) }, false, true},
		{"a filter", func() error { return s.AttachFilter(rxtest.Keep(99)) }, true, true},
		{"no filter", s.DetachFilter, true, true},
		{"a ring", func() error {
			return s.SetRxRing(tpacket.Req{BlockSize: 4096, BlockNr: 1, FrameSize: 2048, FrameNr: 2})
		}, false, true},
		{"down", func() error { dev.SetUp(false); return nil }, true, false},
		{"down again", func() error { dev.SetUp(false); return nil }, false, false},
		{"up", func() error { dev.SetUp(true); return nil }, true, true},
		{"a grant", func() error { return s.SetGrant(&rxring.Grant{Filter: rxtest.Keep(1)}) }, true, true},
		{"a fanout group", func() error { return s.JoinFanout(rxring.FanoutConfig{ID: 1}) }, true, true},
		{"removed", func() error { return ns.RemoveDevice(dev) }, true, false},
		{"closed, elsewhere", s.Close, false, false},
	} {
		before := calls
		rxtest.Must(t, step.do())
		if (calls > before) != step.told || watched != step.watched {
			t.Errorf("%s: %d calls, watched: %v; want told: %v, watched: %v", step.what, calls-before, watched, step.told, step.watched)
		}
	}
	dev.OnInterestChange(nil)
	other.OnInterestChange(nil)
	rxtest.Must(t, ns.RemoveDevice(other))
}

// TestWatchSeesTheLastState: whoever comes and goes at once, the last call sees how
// it ended.
func TestWatchSeesTheLastState(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	var mu sync.Mutex
	var open atomic.Bool
	dev.OnInterestChange(func() {
		mu.Lock()
		defer mu.Unlock()
		open.Store(dev.HasListeners())
	})
	for range 50 {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 10 {
					s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
					rxtest.Must(t, err)
					if !open.Load() {
						t.Error("a reader is there, and nobody opened")
					}
					rxtest.Must(t, s.Close())
				}
			})
		}
		all.Wait()
		if open.Load() {
			t.Fatal("open after the last")
		}
	}
}

// TestFiltersBoundWhatSocketsTake: every set of sockets is understood, or said not
// to be.
func TestFiltersBoundWhatSocketsTake(t *testing.T) {
	one, two := rxtest.Keep(1), rxtest.Keep(2)
	const tagged = 14 + 7*4 // bytes before the network header of an outgoing packet, at most
	cooked := []cbpf.Instruction{
		{Op: 0x20, K: cbpf.AdOff + cbpf.AdPktType}, {Op: 0x15, K: 4, Jf: 4},
		{Op: 0x28, K: 12}, {Op: 0x15, K: 0x8100, Jt: 1}, {Op: 0x15, K: 0x88a8, Jf: 1},
		{Op: 0x06, K: 1 + tagged}, {Op: 0x00},
		{Op: 0x06, K: 1 + 14},
	}
	walking := []cbpf.Instruction{{Op: 0x20, K: cbpf.AdOff + 52}, {Op: 0x06, K: 1}}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	other := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net1"})
	var open []*rxring.Socket
	add := func(g *rxring.Grant, typ rxring.SockType, protocol uint16, filter []cbpf.Instruction) *rxring.Socket {
		s, err := ns.SocketFor(g, typ, 0)
		rxtest.Must(t, err)
		if filter != nil {
			rxtest.Must(t, s.AttachFilter(filter))
		}
		rxtest.Must(t, s.BindDevice(dev, protocol))
		open = append(open, s)
		return s
	}
	const all = tpacket.ETHPAll
	raw := func(filter []cbpf.Instruction) { add(nil, rxring.SockRaw, all, filter) }
	for _, c := range []struct {
		what string
		do   func()
		want [][]cbpf.Instruction
		all  bool
	}{
		{"nobody", func() {}, nil, false},
		{"one", func() { raw(one) }, [][]cbpf.Instruction{one}, false},
		{"two alike", func() { raw(one); raw(one) }, [][]cbpf.Instruction{one}, false},
		{"two that differ", func() { raw(one); raw(two) }, [][]cbpf.Instruction{one, two}, false},
		{"one without", func() { raw(one); raw(nil) }, nil, true},
		{"one that sees no link-layer header", func() { add(nil, rxring.SockDgram, all, one) }, [][]cbpf.Instruction{cooked}, false},
		{"one that sees no link-layer header, and searches the packet", func() { add(nil, rxring.SockDgram, all, walking) }, nil, true},
		{"one protocol, which sees no tag", func() { add(nil, rxring.SockRaw, tpacket.ETHPIP, one) }, nil, true},
		{"on another device", func() {
			rxtest.Must(t, add(nil, rxring.SockRaw, all, nil).BindDevice(other, all))
			raw(one)
		}, [][]cbpf.Instruction{one}, false},
		{"on all devices", func() {
			s, err := ns.Socket(rxring.SockRaw, all)
			rxtest.Must(t, err)
			open = append(open, s)
			raw(one)
		}, nil, true},
		{"a mandatory filter", func() { add(&rxring.Grant{Filter: one}, rxring.SockRaw, all, nil) }, [][]cbpf.Instruction{one}, false},
		{"a mandatory filter, which sees the header always", func() { add(&rxring.Grant{Filter: one}, rxring.SockDgram, all, two) }, [][]cbpf.Instruction{one}, false},
		{"a grant without one", func() { add(&rxring.Grant{}, rxring.SockRaw, all, nil) }, nil, true},
		{"members of a group", func() {
			rxtest.Must(t, add(nil, rxring.SockRaw, all, one).JoinFanout(rxring.FanoutConfig{ID: 1}))
			rxtest.Must(t, add(nil, rxring.SockRaw, all, two).JoinFanout(rxring.FanoutConfig{ID: 1}))
		}, [][]cbpf.Instruction{one, two}, false},
		{"a group that puts fragments together", func() {
			rxtest.Must(t, add(nil, rxring.SockRaw, all, one).JoinFanout(rxring.FanoutConfig{ID: 1, Flags: rxring.FanoutFlagDefrag}))
		}, nil, true},
	} {
		c.do()
		got, unsaid := dev.Filters()
		if unsaid != c.all || !slices.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%s: %v, all: %v; want %v, all: %v", c.what, got, unsaid, c.want, c.all)
		}
		for _, s := range open {
			rxtest.Must(t, s.Close())
		}
		open = nil
	}
}

// FuzzSocketOptions sets and reads options as a hostile program would, with
// packets between: nothing panics, no option reports more than there was room
// for, and memory stays within the namespace's bound.
func FuzzSocketOptions(f *testing.F) {
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptRxRing), tpacket.Bytes(&rxtest.SmallRing))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptVersion), rxtest.Int(2))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptReserve), rxtest.Int(70000))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptVnetHdrSz), rxtest.Int(12))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptCopyThresh), rxtest.Int(1))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptAddMembership), append(rxtest.Int(2), 0, 0, 6, 0, 1, 0, 0x5e, 0, 0, 0xfb, 0, 0))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptFanout), rxtest.Int(1<<16))
	f.Add(uint16(rxtest.SolSocket), uint8(33), rxtest.Int(1<<30))
	f.Add(uint16(rxtest.SolSocket), uint8(20), make([]byte, 16))
	f.Add(uint16(rxtest.SolSocket), uint8(25), []byte("net0"))
	f.Fuzz(func(t *testing.T, level uint16, name uint8, val []byte) {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 1 << 20})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
		s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		defer s.Close()
		other, _ := rxtest.Open(t, ns, rxring.SockDgram, tpacket.V2, rxtest.SmallRing)
		for _, s := range []*rxring.Socket{s, other} {
			if err := s.Setsockopt(int(level), int(name), val); err == nil && len(val) > 4096 {
				t.Logf("option %d %d takes %d bytes", level, name, len(val))
			}
			room := make([]byte, len(val)%64)
			copy(room, val)
			if n, err := s.Getsockopt(int(level), int(name), room); err == nil && n > len(room) {
				t.Errorf("option %d %d: %d bytes in %d", level, name, n, len(room))
			}
		}
		for range 3 {
			dev.Deliver(&rxring.Packet{Data: rxtest.Frame(100)})
			dev.Deliver(&rxring.Packet{Data: rxtest.Frame(3000), Outgoing: true})
		}
		b := make([]byte, 200)
		for _, s := range []*rxring.Socket{s, other} {
			for {
				m, err := s.Recv(b, 0)
				if err != nil {
					break
				}
				if c := m.Control(len(val)); len(c) > len(val) {
					t.Errorf("%d bytes of control messages in %d", len(c), len(val))
				}
			}
			if got := s.Totals(); got.Offered() > 6 {
				t.Errorf("%+v: offered were 6", got)
			}
		}
	})
}
