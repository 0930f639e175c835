package iface

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// bound is a socket with a ring that has room for packets of up to 2 KiB, bound to the
// wire's device for one protocol.
func (w *wire) bound(protocol uint16, slots uint32) *rxring.Socket {
	w.t.Helper()
	s, err := w.dev.Namespace().Socket(rxring.SockRaw, 0)
	must(w.t, err)
	w.t.Cleanup(func() { s.Close() })
	must(w.t, s.SetVersion(tpacket.V2))
	must(w.t, s.SetRxRing(tpacket.Req{BlockSize: 1 << 16, BlockNr: slots / 32, FrameSize: 2048, FrameNr: slots}))
	must(w.t, s.BindDevice(w.dev, protocol))
	return s
}

// A flood, with a kernel ring as small as can be and readers' rings that are smaller:
// what each socket, and each group, was offered is what was sent.
func TestEveryPacketIsCapturedOrDropped(t *testing.T) {
	need.Time(t, "it captures for a second")
	for _, c := range []Config{
		{Buffer: 1},
		{Buffer: 1, Immediate: true},
		{Buffer: 1, Fanout: 4, FanoutMode: rxring.FanoutLB},
	} {
		t.Run(fmt.Sprintf("immediate=%v,fanout=%d", c.Immediate, c.Fanout), func(t *testing.T) {
			withWire(t, func(w *wire) {
				w.t = t
				s := w.start(c)
				alone, everything := w.bound(0x88b5, 64), w.bound(tpacket.ETHPAll, 4096)
				var group []*rxring.Socket
				for range 3 {
					m := w.bound(tpacket.ETHPAll, 1024)
					must(t, m.JoinFanout(rxring.FanoutConfig{Mode: rxring.FanoutLB}))
					group = append(group, m)
				}
				const n = 20000
				var wg sync.WaitGroup
				for end := range 2 { // what leaves is seen, too, but by a socket of one protocol
					wg.Go(func() {
						for i := range n / 2 {
							w.send(end, frame(900+i%100))
						}
					})
				}
				wg.Wait()
				offered := func(members ...*rxring.Socket) (n uint64) {
					for _, m := range members {
						n += m.Totals().Offered()
					}
					return n
				}
				defer func() { t.Logf("%+v; %+v; group %d", s.Stats(), everything.Totals(), offered(group...)) }()
				eventually(t, "every packet is accounted for", func() bool {
					st := s.Stats()
					return st.Packets+st.Drops == n && offered(everything) == n && offered(group...) == n
				})
				st := everything.Statistics()
				if totals := everything.Totals(); st.Packets != n || uint64(st.Drops) != totals.Dropped() {
					t.Errorf("PACKET_STATISTICS %+v of %+v", st, totals)
				}
				lost := s.Stats().Drops
				t.Logf("%d lost in the kernel's rings", lost)
				if got := alone.Totals(); got.Offered() < lost || got.Offered() > n || got.Drops[ring.Lost] != lost {
					t.Errorf("the socket of one protocol: %+v, of which %d were lost before the device", got, lost)
				}
				for _, s := range append(group, everything, alone) {
					must(t, s.Close())
				}
				must(t, s.Close())
				if offered(everything) != n || offered(group...) != n {
					t.Errorf("%d and %d offered, once all is closed", offered(everything), offered(group...))
				}
			})
		})
	}
}

// What lies in the kernel's ring when a socket is bound is not for that socket, and is
// not lost to others.
func TestNothingFromBeforeTheBind(t *testing.T) {
	need.Time(t, "it sends on a veth pair for seconds")
	for _, c := range []Config{
		{Retire: 100 * time.Millisecond}, // long enough to bind in
		{Immediate: true},
		{Retire: 100 * time.Millisecond, Fanout: 4, FanoutMode: rxring.FanoutLB},
	} {
		t.Run(fmt.Sprintf("immediate=%v,fanout=%d", c.Immediate, c.Fanout), func(t *testing.T) {
			withWire(t, func(w *wire) {
				w.t = t
				s := w.start(c)
				first := w.bound(tpacket.ETHPAll, 4096)
				stopped := w.bound(tpacket.ETHPAll, 32) // it is late, and given up
				const rounds, before, after = 20, 7, 5
				for range rounds {
					for i := range before {
						w.comes(frame(i))
					}
					fresh := w.bound(0x88b5, 64)
					moved := w.bound(tpacket.ETHPIP, 64)
					must(t, moved.BindDevice(w.dev, 0x88b5))
					for i := range after {
						w.comes(frame(100 + i))
					}
					for name, s := range map[string]*rxring.Socket{"bound anew": fresh, "bound to another protocol": moved} {
						eventually(t, name+": what came since is there", func() bool { return s.Totals().Captured >= after })
						if got, want := s.Totals(), (ring.Totals{Captured: after}); got != want {
							t.Errorf("%s: %+v, want %+v", name, got, want)
						}
						must(t, s.Close())
					}
				}
				if got, want := first.Totals(), (ring.Totals{Captured: rounds * (before + after)}); got != want {
					t.Errorf("the socket that was there all along: %+v, want %+v", got, want)
				}
				must(t, first.Close())
				must(t, stopped.Close())
				must(t, s.Close())
			})
		})
	}
}

// taken is how many packets the kernel has put into the source's rings.
func taken(s *Source) (n uint64) {
	for _, d := range s.drains() {
		n += d.reportLost()
	}
	return n
}

// A socket that is bound to other protocols and back has each packet that came while it
// was bound to one that covers it, though the packet still lies in the kernel's ring.
func TestNothingIsLostInARebind(t *testing.T) {
	need.Time(t, "it sends on a veth pair for seconds")
	for _, c := range []Config{
		{Retire: 20 * time.Millisecond},
		{Immediate: true},
		{Retire: 20 * time.Millisecond, Fanout: 4, FanoutMode: rxring.FanoutLB},
	} {
		t.Run(fmt.Sprintf("immediate=%v,fanout=%d", c.Immediate, c.Fanout), func(t *testing.T) {
			withWire(t, func(w *wire) {
				w.t = t
				s := w.start(c)
				moves, stays := w.bound(tpacket.ETHPAll, 4096), w.bound(tpacket.ETHPAll, 4096)
				const rounds = 20
				sent := uint64(0)
				comes := func() {
					w.comes(frame(0))
					sent++
					eventually(t, "the kernel has put it into a ring", func() bool { return taken(s) == sent })
				}
				for range rounds {
					comes() // for it
					must(t, moves.BindDevice(w.dev, tpacket.ETHPIP))
					comes() // not for it
					must(t, moves.BindDevice(w.dev, 0x88b5))
					comes() // for it
					must(t, moves.BindDevice(w.dev, tpacket.ETHPAll))
				}
				eventually(t, "all have come", func() bool { return stays.Totals().Offered() == 3*rounds })
				if got, want := moves.Totals(), (ring.Totals{Captured: 2 * rounds}); got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
				must(t, moves.JoinFanout(rxring.FanoutConfig{}))
				comes()
				eventually(t, "the group gets packets", func() bool { return moves.Totals().Captured == 2*rounds+1 })
				must(t, moves.Close())
				must(t, stays.Close())
				must(t, s.Close())
			})
		})
	}
}

// What was lost while nobody read, or another reader did, is not a later one's loss.
func TestLossesAreCountedForSocketsBoundThen(t *testing.T) {
	withWire(t, func(w *wire) {
		s := w.start(Config{Buffer: 1, Immediate: true})
		first := w.bound(0x88b5, 64)
		b := blocker{make(chan struct{}, 1), make(chan struct{})}
		first.Arm(b)
		w.comes(frame(0))
		<-b.woken // the source is held up
		for range 3000 {
			w.comes(frame(900))
		}
		close(b.go_)
		second := w.bound(0x88b5, 64)
		// The kernel's ring may stay full until the source gives up waiting for the first
		// socket's reader: what arrives before is lost to both.
		eventually(t, "the packets before are accounted for", func() bool { return first.Totals().Offered() == 3001 })
		for range 10 {
			w.comes(frame(1))
		}
		eventually(t, "every packet is accounted for", func() bool {
			return first.Totals().Offered() == 3011 && second.Totals().Offered() == 10 // none of those before
		})
		if first.Totals().Drops[ring.Lost] == 0 || second.Totals().Captured == 0 {
			t.Errorf("first %+v, second %+v", first.Totals(), second.Totals())
		}
		must(t, first.Close())
		must(t, second.Close())
		third := w.bound(0x88b5, 64)
		if got := third.Totals(); got.Offered() != 0 {
			t.Errorf("third %+v", got)
		}
		must(t, third.Close())
		must(t, s.Close())
	})
}

// What came before the interface went down, or the source ended, is delivered, though
// its block is not full.
func TestTheLastBlockIsDelivered(t *testing.T) {
	need.Time(t, "it captures often")
	for name, end := range map[string]func(*wire, *Source){
		"the interface goes down": func(w *wire, _ *Source) {
			w.link(netlink.LinkSetDown)
			eventually(t, "the device is down", func() bool { return !w.dev.Up() })
		},
		"the source ends":    func(w *wire, s *Source) { must(w.t, s.Close()) },
		"the interface goes": func(w *wire, s *Source) { w.link(netlink.LinkDel); <-s.Done() },
	} {
		t.Run(name, func(t *testing.T) {
			withWire(t, func(w *wire) {
				w.t = t
				s := w.start(Config{Retire: 200 * time.Millisecond})
				reader := w.bound(0x88b5, 64)
				for range 7 {
					w.comes(frame(1))
				}
				end(w, s)
				if got, want := reader.Totals(), (ring.Totals{Captured: 7}); got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
				must(t, reader.Close())
				s.Close()
			})
		})
	}
}
