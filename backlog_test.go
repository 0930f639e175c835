package rxring_test

import (
	"sync"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

func TestWhatWasLostBeforeTheDeviceIsDroppedAtEverySocket(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	other := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net1"})
	dev.Lost(1000) // nobody is there

	slots, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	rxtest.Must(t, slots.BindDevice(dev, tpacket.ETHPAll))
	queue, err := ns.Socket(rxring.SockDgram, tpacket.ETHPAll)
	rxtest.Must(t, err)
	rxtest.Must(t, queue.Setsockopt(1, 40, rxtest.Int(1))) // SO_RXQ_OVFL
	choosy, err := ns.Socket(rxring.SockRaw, tpacket.ETHPIPv6)
	rxtest.Must(t, err)
	rxtest.Must(t, choosy.AttachFilter([]cbpf.Instruction{{Op: 0x06}})) // ret #0
	elsewhere, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	rxtest.Must(t, elsewhere.BindDevice(other, tpacket.ETHPAll))

	dev.Lost(0)
	dev.Lost(3)
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	dev.Lost(4)

	lost := ring.Drops{ring.Lost: 7}
	for _, c := range []struct {
		name string
		s    *rxring.Socket
		want ring.Totals
	}{
		{"a ring of slots", slots, ring.Totals{Captured: 1, Drops: lost}},
		{"a queue", queue, ring.Totals{Captured: 1, Drops: lost}},
		{"another protocol's, with a filter", choosy, ring.Totals{Drops: lost}},
		{"another device's", elsewhere, ring.Totals{}},
	} {
		if got := c.s.Totals(); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		want := tpacket.Stats3{Packets: uint32(c.want.Offered()), Drops: uint32(c.want.Dropped())}
		if got := c.s.Statistics(); got != want {
			t.Errorf("%s: PACKET_STATISTICS %+v, want %+v", c.name, got, want)
		}
	}
	if f := rxtest.Next(t, rd); f.Status&tpacket.StatusLosing == 0 {
		t.Error("no TP_STATUS_LOSING behind what was lost")
	}
	m, err := queue.Recv(make([]byte, 100), 0)
	rxtest.Must(t, err)
	if m.Dropped != 3 {
		t.Errorf("SO_RXQ_OVFL %d, want the 3 that were lost before the packet", m.Dropped)
	}
	dev.SetUp(false)
	dev.Lost(5)
	if got := slots.Totals(); got.Drops != lost {
		t.Errorf("of a device that is down: %+v", got)
	}
}

func TestLossesAreCountedOncePerGroup(t *testing.T) {
	for _, mode := range []rxring.FanoutMode{rxring.FanoutHash, rxring.FanoutLB, rxring.FanoutRollover} {
		dev, members := fanoutOf(t, 4, 16, rxring.FanoutConfig{ID: 7, Mode: mode})
		alone, err := dev.Namespace().Socket(rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		for i := range 40 {
			dev.Deliver(&rxring.Packet{Data: flowFrame(uint32(i), false)})
			dev.Lost(uint64(i))
		}
		var sum ring.Drops
		var offered uint64
		for _, m := range members {
			sum[ring.Lost] += m.Totals().Drops[ring.Lost]
			offered += m.Totals().Offered()
		}
		const lost = 40 * 39 / 2
		if sum[ring.Lost] != lost || offered != 40+lost || alone.Totals().Drops[ring.Lost] != lost {
			t.Errorf("mode %d: %v lost of %d offered, %v at a socket alone; want %d of %d and %d", mode, sum[ring.Lost], offered, alone.Totals(), lost, 40+lost, lost)
		}
	}
}

// backlog is a source with a backlog, as a kernel's ring is: packets come, or are lost,
// and are delivered some time later.
type backlog struct {
	dev *rxring.Device

	mu      sync.Mutex
	packets []rxring.Packet
	lost    uint64
	gone    int // delivered
	stuck   bool
	marks   []mark
}

type mark struct {
	until int // packets
	at    rxring.Moment
}

func (w *backlog) comes(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range n {
		w.packets = append(w.packets, rxring.Packet{Data: rxtest.Frame(60)})
	}
}

func (w *backlog) loses(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost += n
}

func (w *backlog) ReportLost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reportLost()
}

func (w *backlog) reportLost() {
	w.dev.Lost(w.lost)
	w.lost = 0
}

func (w *backlog) Mark() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reportLost()
	w.marks = append(w.marks, mark{len(w.packets), w.dev.Moment()})
}

// delivers delivers all that has come.
func (w *backlog) delivers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.marks {
		if m.until > w.gone {
			w.dev.DeliverBatchAt(m.at, w.packets[w.gone:m.until])
			w.gone = m.until
		}
	}
	w.dev.DeliverBatch(w.packets[w.gone:])
	w.gone, w.marks = len(w.packets), nil
}

// Flush gives up when the source is stuck.
func (w *backlog) Flush() (left uint64) {
	w.mu.Lock()
	left = uint64(len(w.packets) - w.gone)
	stuck := w.stuck
	w.mu.Unlock()
	if stuck {
		return left
	}
	w.delivers()
	return 0
}

func newBacklog(t testing.TB) *backlog {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	w := &backlog{dev: rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})}
	w.dev.SetBacklog(w)
	return w
}

func bound(t testing.TB, dev *rxring.Device, protocol uint16) *rxring.Socket {
	t.Helper()
	s, err := dev.Namespace().Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err, s.BindDevice(dev, protocol))
	return s
}

// counted wants a socket to have captured and lost so many packets.
func counted(t testing.TB, who string, s *rxring.Socket, captured, lost uint64) {
	t.Helper()
	if got, want := s.Totals(), (ring.Totals{Captured: captured, Drops: ring.Drops{ring.Lost: lost}}); got != want {
		t.Errorf("%s: %+v, want %+v", who, got, want)
	}
}

func TestASocketGetsNothingFromBeforeItsBind(t *testing.T) {
	w := newBacklog(t)
	w.comes(1)
	w.loses(1)
	first := bound(t, w.dev, tpacket.ETHPAll)
	w.comes(10)
	w.loses(10)
	second := bound(t, w.dev, tpacket.ETHPIP)
	w.comes(100)
	w.loses(100)
	third, err := w.dev.Namespace().Socket(rxring.SockRaw, tpacket.ETHPAll) // bound as it is made, to all devices
	rxtest.Must(t, err)
	w.comes(100)
	w.loses(1000)
	w.delivers()
	counted(t, "first", first, 210, 1110)
	counted(t, "second", second, 200, 1100)
	counted(t, "third", third, 100, 1000)

	// What is lost until it is closed is its own, and what is lost later is not.
	w.loses(5)
	rxtest.Must(t, third.Close())
	w.loses(7)
	counted(t, "third", third, 100, 1005)
	w.ReportLost() // as a source does now and then
	counted(t, "first", first, 210, 1122)

	// What came before a bind to another protocol is the old binding's.
	w.delivers()
	w.comes(3)
	rxtest.Must(t, second.BindDevice(w.dev, tpacket.ETHPAll))
	w.comes(4)
	rxtest.Must(t, second.BindDevice(w.dev, tpacket.ETHPAll))
	w.delivers()
	counted(t, "second", second, 207, 1112)
	counted(t, "first", first, 217, 1122)
}

// A socket that is bound to another protocol, to another device or to all of them, or
// that joins a group, has all that came before that, as in Linux.
func TestNothingIsLostInARebind(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *backlog, s *rxring.Socket) error
		after  uint64 // of 5 packets that come later
	}{
		"a narrower protocol": {func(w *backlog, s *rxring.Socket) error { return s.BindDevice(w.dev, tpacket.ETHPIP) }, 5},
		"another protocol":    {func(w *backlog, s *rxring.Socket) error { return s.BindDevice(w.dev, tpacket.ETHPIPv6) }, 0},
		"there and back": {func(w *backlog, s *rxring.Socket) error {
			rxtest.Must(t, s.BindDevice(w.dev, tpacket.ETHPIPv6))
			return s.BindDevice(w.dev, tpacket.ETHPAll)
		}, 5},
		"all devices": {func(w *backlog, s *rxring.Socket) error { return s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket}) }, 5},
		"another device": {func(w *backlog, s *rxring.Socket) error {
			return s.BindDevice(rxtest.AddDevice(t, w.dev.Namespace(), rxring.DeviceConfig{Name: "net1"}), 0)
		}, 0},
		"a group": {func(_ *backlog, s *rxring.Socket) error { return s.JoinFanout(rxring.FanoutConfig{}) }, 5},
	} {
		t.Run(name, func(t *testing.T) {
			w := newBacklog(t)
			s, stays := bound(t, w.dev, tpacket.ETHPAll), bound(t, w.dev, tpacket.ETHPAll)
			w.comes(7)
			rxtest.Must(t, c.change(w, s))
			w.comes(5)
			w.delivers()
			counted(t, "the socket", s, 7+c.after, 0)
			counted(t, "one that stays", stays, 12, 0)
		})
	}
}

// What a source does not deliver in time is counted at the socket that is bound anew.
func TestWhatASourceDoesNotDeliverInTimeIsLost(t *testing.T) {
	w := newBacklog(t)
	w.stuck = true
	s, stays := bound(t, w.dev, tpacket.ETHPAll), bound(t, w.dev, tpacket.ETHPAll)
	w.comes(7)
	if err := s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: 99}); err == nil {
		t.Error("bound to a device that is not there")
	}
	counted(t, "after a bind that fails", s, 0, 0)
	rxtest.Must(t, s.BindDevice(w.dev, tpacket.ETHPIP))
	w.comes(5)
	w.delivers()
	counted(t, "the socket", s, 5, 7)
	counted(t, "one that stays", stays, 12, 0)
}

func TestAMemberGetsNothingFromBeforeItsBind(t *testing.T) {
	for _, c := range []rxring.FanoutConfig{{Mode: rxring.FanoutHash}, {Mode: rxring.FanoutLB}, {Mode: rxring.FanoutRnd}, {Mode: rxring.FanoutQM, Flags: rxring.FanoutFlagDefrag}} {
		w := newBacklog(t)
		old := bound(t, w.dev, tpacket.ETHPAll)
		rxtest.Must(t, old.JoinFanout(c))
		w.comes(100)
		w.loses(10)
		fresh := bound(t, w.dev, tpacket.ETHPAll)
		rxtest.Must(t, fresh.JoinFanout(c))
		w.comes(100)
		w.loses(10)
		w.delivers()
		a, b := old.Totals(), fresh.Totals()
		if a.Captured < 100 || b.Captured > 100 || a.Captured+b.Captured != 200 || a.Dropped()+b.Dropped() != 20 {
			t.Errorf("mode %d: %+v and %+v: want the first 100 at the older member, and all once", c.Mode, a, b)
		}

		// Nobody of an old group may get what came before any of its members.
		w.comes(10)
		rxtest.Must(t, old.Close())
		w.delivers()
		if got := fresh.Totals(); got.Captured != b.Captured+10 {
			t.Errorf("mode %d: %+v after %+v, and 10 packets more", c.Mode, got, b)
		}
	}
}

// TestCountsAddUpWhileSocketsComeAndGo has packets come, be lost and be delivered
// while sockets are bound, asked and closed: what each counts is what came while it
// was bound, or one that overlapped its calls.
func TestCountsAddUpWhileSocketsComeAndGo(t *testing.T) {
	w := newBacklog(t)
	all := bound(t, w.dev, tpacket.ETHPAll)
	rxtest.Must(t, all.Setsockopt(1, 33, rxtest.Int(1<<30))) // SO_RCVBUFFORCE: it keeps them all
	const rounds = 300
	var wg sync.WaitGroup
	wg.Go(func() {
		for range rounds {
			w.comes(3)
			w.loses(2)
		}
	})
	wg.Go(func() {
		for range rounds {
			w.delivers()
		}
	})
	for range 3 {
		wg.Go(func() {
			for range rounds / 10 {
				s := bound(t, w.dev, tpacket.ETHPAll)
				st := s.Statistics()
				if st.Packets < st.Drops {
					t.Errorf("%+v", st)
				}
				s.Close()
			}
		})
	}
	wg.Wait()
	w.delivers()
	counted(t, "the one that stayed", all, 3*rounds, 2*rounds)
}
