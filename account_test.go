package rxring_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// socket opens a socket of the kind under grant, bound to the device; those of a fanout
// mode are in one group.
func (l *lent) socket(t *testing.T, kind string, grant rxring.Grant) *rxring.Socket {
	t.Helper()
	s, err := l.ns.SocketFor(&grant, rxring.SockRaw, 0)
	rxtest.Must(t, err)
	t.Cleanup(func() { s.Close() })
	switch kind {
	case "V2":
		rxtest.Must(t, s.SetVersion(tpacket.V2), s.SetRxRing(tpacket.Req{BlockSize: 4096, BlockNr: 4, FrameSize: 256, FrameNr: 64}))
	case "V3":
		rxtest.Must(t, s.SetVersion(tpacket.V3), s.SetRxRing(tpacket.Req{BlockSize: 4096, BlockNr: 4, FrameSize: 256, FrameNr: 64}))
	}
	rxtest.Must(t, s.BindDevice(l.dev, tpacket.ETHPAll))
	switch kind {
	case "hash", "cbpf", "rollover", "defrag":
		c := rxring.FanoutConfig{Mode: rxring.FanoutHash}
		switch kind {
		case "cbpf":
			c.Mode = rxring.FanoutCBPF
		case "rollover":
			c.Flags = rxring.FanoutFlagRollover
		case "defrag":
			c.Flags = rxring.FanoutFlagDefrag
		}
		rxtest.Must(t, s.JoinFanout(c))
	}
	return s
}

// A batch may begin or end with a tagged packet, which is delivered on its own, and hold packets
// that are delivered to no socket.
func TestBatchesWithTaggedPackets(t *testing.T) {
	tagged := rxring.Packet{Data: rxtest.TCPFrame(100), VLAN: rxring.VLAN{TPID: 0x8100, TCI: 5}}
	plain, malformed := rxring.Packet{Data: rxtest.TCPFrame(100)}, rxring.Packet{Data: make([]byte, 3)}
	for _, kind := range []string{"queue", "V2", "V3", "hash", "cbpf", "rollover", "defrag"} {
		for _, batch := range [][]rxring.Packet{
			{tagged}, {tagged, plain}, {plain, tagged}, {tagged, tagged, plain}, {malformed}, {malformed, tagged}, {malformed, plain},
		} {
			l := lend(t)
			a := rxring.NewAccount()
			s := l.socket(t, kind, rxring.Grant{Account: a})
			l.dev.DeliverBatch(slices.Clone(batch))
			if n := a.Shares(); n > 1 {
				t.Errorf("%s: a batch of %d was charged to %d devices, but is of one", kind, len(batch), n)
			}
			if got := s.Totals().Offered(); got != uint64(len(batch)) {
				t.Errorf("%s: %d packets offered of a batch of %d", kind, got, len(batch))
			}
		}
	}
}

// lent is a device for sockets under a grant.
type lent struct {
	ns  *rxring.Namespace
	dev *rxring.Device
}

func lend(t *testing.T) *lent {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	rxtest.Must(t, err)
	return &lent{ns, dev}
}

// deliver delivers n packets, by one and in batches, of which each second is outgoing.
func (l *lent) deliver(n int) {
	for n > 0 {
		ps := make([]rxring.Packet, min(n, 1+rand.IntN(40)))
		for i := range ps {
			ps[i] = rxring.Packet{Data: rxtest.Frame(60 + i), Outgoing: i%2 == 1}
		}
		if len(ps)%2 == 0 {
			l.dev.DeliverBatch(ps)
		} else {
			for i := range ps {
				l.dev.Deliver(&ps[i])
			}
		}
		n -= len(ps)
	}
}

// Whoever takes too much time, and with whatever kind of socket: each packet is filtered,
// captured or dropped, once; others lose none.
func TestThrottledPacketsAreCounted(t *testing.T) {
	for _, kind := range []string{"queue", "V2", "V3", "hash", "cbpf", "rollover", "defrag"} {
		for _, grant := range []rxring.Grant{{}, {Snaplen: 40}} {
			t.Run(fmt.Sprintf("%s, snaplen %d", kind, grant.Snaplen), func(t *testing.T) {
				l := lend(t)
				grant.Account = rxring.NewAccount()
				heavy := []*rxring.Socket{l.socket(t, kind, grant), l.socket(t, kind, grant)}
				light := l.socket(t, "V2", rxring.Grant{Account: rxring.NewAccount()})
				rxtest.Must(t, light.AttachFilter([]cbpf.Instruction{{Op: 0x06}})) // it wants nothing
				before := func() (all ring.Totals) {
					for _, s := range heavy {
						st := s.Totals()
						all.Filtered += st.Filtered
						all.Captured += st.Captured
						for v, n := range st.Drops.All() {
							all.Drops[v] += n
						}
					}
					return all
				}
				const n = 500
				offered := uint64(0)
				each := uint64(2) // sockets that get a packet
				if kind != "queue" && kind[0] != 'V' {
					each = 1
				}
				for before().Drops[ring.Throttled] == 0 { // at once, unless the machine stops for a second here
					l.deliver(n)
					offered += n * each
					grant.Account.Charge(l.dev, 1<<50)
					l.deliver(n)
					offered += n * each
				}
				if got := before(); got.Offered() != offered {
					t.Errorf("%d offered, want %d: %+v", got.Offered(), offered, got)
				}
				if got := light.Totals(); got.Filtered != offered/each || got.Dropped() != 0 {
					t.Errorf("the light one: %+v, want %d filtered", got, offered/each)
				}
			})
		}
	}
}

// What a grant hides is not counted while its user's sockets are skipped, either.
func TestThrottlingTellsOfNoHiddenPacket(t *testing.T) {
	for _, kind := range []string{"queue", "V2", "V3", "hash", "cbpf", "defrag"} {
		t.Run(kind, func(t *testing.T) {
			l := lend(t)
			account := rxring.NewAccount()
			s := l.socket(t, kind, rxring.Grant{Account: account, Filter: []cbpf.Instruction{{Op: 0x06}}})
			for range 10 {
				account.Charge(l.dev, 1<<50)
				l.deliver(100)
			}
			if got := s.Totals(); got.Offered() != 0 {
				t.Errorf("%+v, want nothing", got)
			}
		})
	}
}

// One user's debt is his alone, on that device alone.
func TestAnAccountPaysForItself(t *testing.T) {
	l := lend(t)
	other, err := l.ns.AddDevice(rxring.DeviceConfig{Name: "net1"})
	rxtest.Must(t, err)
	account := rxring.NewAccount()
	everywhere, err := l.ns.SocketFor(&rxring.Grant{Account: account}, rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer everywhere.Close()
	account.Charge(l.dev, 1<<50)
	other.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if got := everywhere.Totals(); got.Captured != 1 {
		t.Errorf("on the other device: %+v, want one packet captured", got)
	}
}

// A filter whose work is not bounded is refused only to a socket with an Account.
func TestFiltersOfAccountsAreBounded(t *testing.T) {
	l := lend(t)
	walks := func(n int) (prog []cbpf.Instruction) {
		for range n {
			prog = append(prog, cbpf.Instruction{Op: 0x20, K: cbpf.AdOff + 52}) // SKF_AD_PAY_OFFSET
		}
		return append(prog, cbpf.Instruction{Op: 0x16})
	}
	theirs := l.socket(t, "cbpf", rxring.Grant{Account: rxring.NewAccount()})
	ours := l.socket(t, "queue", rxring.Grant{})
	rxtest.Must(t, theirs.AttachFilter(walks(cbpf.MaxWalks)), theirs.SetFanoutProgram(walks(cbpf.MaxWalks)))
	rxtest.Must(t, ours.AttachFilter(walks(cbpf.MaxWalks+1)))
	for what, err := range map[string]error{
		"filter": theirs.AttachFilter(walks(cbpf.MaxWalks + 1)), "fanout program": theirs.SetFanoutProgram(walks(cbpf.MaxWalks + 1)),
	} {
		if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "load number 5 that searches the packet, want at most 4") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// For sockets with an Account a source runs only short and cheap filters, and few of them.
func TestSourcesAreToldOfCheapFilters(t *testing.T) {
	long := func(n int) []cbpf.Instruction {
		prog := make([]cbpf.Instruction, n-1)
		return append(prog, cbpf.Instruction{Op: 0x06, K: math.MaxUint32})
	}
	payload := []cbpf.Instruction{{Op: 0x20, K: cbpf.AdOff + 52}, {Op: 0x16}}
	for _, c := range []struct {
		what   string
		grant  *rxring.Grant
		filter []cbpf.Instruction
		told   bool
	}{
		{"our own, long", nil, long(4096), true},
		{"our own, walking", nil, payload, true},
		{"an account's of 96 instructions", &rxring.Grant{Account: rxring.NewAccount()}, long(96), true},
		{"an account's of 97", &rxring.Grant{Account: rxring.NewAccount()}, long(97), false},
		{"an account's, walking", &rxring.Grant{Account: rxring.NewAccount()}, payload, false},
		{"an account's, under a long filter of the owner's", &rxring.Grant{Account: rxring.NewAccount(), Filter: long(300)}, payload, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			l := lend(t)
			s, err := l.ns.SocketFor(c.grant, rxring.SockRaw, 0)
			rxtest.Must(t, err)
			defer s.Close()
			rxtest.Must(t, s.AttachFilter(c.filter), s.BindDevice(l.dev, tpacket.ETHPAll))
			if _, all := l.dev.Filters(); all == c.told {
				t.Errorf("all packets: %v, want %v", all, !c.told)
			}
		})
	}
	l := lend(t)
	for i := range 17 {
		if got, all := l.dev.Filters(); all || len(got) != i {
			t.Errorf("%d filters: %d, all packets: %v", i, len(got), all)
		}
		s, err := l.ns.Socket(rxring.SockRaw, 0)
		rxtest.Must(t, err)
		defer s.Close()
		rxtest.Must(t, s.AttachFilter(long(i+1)), s.BindDevice(l.dev, tpacket.ETHPAll))
	}
	if _, all := l.dev.Filters(); !all {
		t.Error("17 different filters are told")
	}
}

// Of two users one has 64 sockets whose filters take as long as filters can. Its packets are
// dropped for it, and not for the other.
func TestAHeavyUserIsThrottled(t *testing.T) {
	l := lend(t)
	prog := []cbpf.Instruction{{Op: 0x20, K: cbpf.AdOff + 36}} // what only the interpreter does, SKF_AD_CPU
	for len(prog) < 4095 {
		prog = append(prog, cbpf.Instruction{Op: 0x04, K: 1})
	}
	prog = append(prog, cbpf.Instruction{Op: 0x06})
	var heavy []*rxring.Socket
	account := rxring.NewAccount()
	for range 64 {
		s := l.socket(t, "V2", rxring.Grant{Account: account})
		rxtest.Must(t, s.AttachFilter(prog))
		heavy = append(heavy, s)
	}
	light := l.socket(t, "V2", rxring.Grant{Account: rxring.NewAccount()})
	rxtest.Must(t, light.AttachFilter([]cbpf.Instruction{{Op: 0x06}}))
	n := uint64(0)
	for account.Throttled() < 1000 {
		l.dev.DeliverBatch([]rxring.Packet{{Data: rxtest.Frame(60)}, {Data: rxtest.Frame(70)}})
		l.dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
		n += 3
		time.Sleep(50 * time.Microsecond)
	}
	throttled := uint64(0)
	for _, s := range heavy {
		got := s.Totals()
		throttled += got.Drops[ring.Throttled]
		if got.Filtered+got.Drops[ring.Throttled] != n {
			t.Errorf("a heavy one: %+v, want %d filtered or throttled", got, n)
		}
	}
	if throttled != account.Throttled() {
		t.Errorf("%d throttled, the account says %d", throttled, account.Throttled())
	}
	if got := light.Totals(); got.Filtered != n || got.Dropped() != 0 {
		t.Errorf("the light one: %+v, want %d filtered", got, n)
	}
}

// TestSharesOfRemovedDevicesAreGone: devices that are added and removed do not fill an account.
func TestSharesOfRemovedDevicesAreGone(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	a := rxring.NewAccount()
	s, err := ns.SocketFor(&rxring.Grant{Account: a}, rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	stays := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	stays.Deliver(&rxring.Packet{Data: make([]byte, 60)})
	for range 100 {
		d := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "peer0"})
		d.Deliver(&rxring.Packet{Data: make([]byte, 60)})
		if n := a.Shares(); n != 2 {
			t.Fatalf("shares of %d devices; want 2", n)
		}
		rxtest.Must(t, ns.RemoveDevice(d))
	}
	if n := a.Shares(); n != 1 {
		t.Errorf("shares of %d devices; want that of net0", n)
	}
}

// TestAccountsAreFreed: a device keeps no account that is no longer used.
func TestAccountsAreFreed(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	var freed atomic.Int32
	for range 50 {
		func() {
			a := rxring.NewAccount()
			runtime.AddCleanup(a, func(int) { freed.Add(1) }, 0)
			s, err := ns.SocketFor(&rxring.Grant{Account: a}, rxring.SockRaw, tpacket.ETHPAll)
			rxtest.Must(t, err)
			dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64)})
			s.Close()
		}()
	}
	for range 1000 {
		if runtime.GC(); freed.Load() >= 45 { // the stack may hold some
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d of 50 accounts were freed", freed.Load())
}
