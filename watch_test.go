package rxring_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

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
		{"one that sees no link-layer header", func() { add(nil, rxring.SockDgram, all, one) }, nil, true},
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
