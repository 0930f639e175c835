package iface

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

var quick = capture.Config{Retire: time.Millisecond}

// The kernel's socket is there from the first reader's Bind to the last one's Close.
func TestNothingIsOpenWithoutReaders(t *testing.T) {
	withWire(t, func(w *wire) {
		others := w.packetSockets()
		ofSource := func() int { return w.packetSockets() - others }
		s := w.start(Config{})
		if n := ofSource(); n != 0 || s.Stats().Open {
			t.Fatalf("%d sockets before anybody reads", n)
		}
		unbound, err := w.dev.Namespace().Socket(rxring.SockRaw, 0)
		must(t, err)
		defer unbound.Close()
		if n := ofSource(); n != 0 {
			t.Errorf("%d sockets for a reader that has no protocol", n)
		}
		first := w.ours(quick)
		if n := ofSource(); n != 1 || !s.Stats().Open {
			t.Errorf("%d sockets when the first reader's Bind returns", n)
		}
		second := w.ours(quick)
		must(t, first.Close())
		if n := ofSource(); n != 1 {
			t.Errorf("%d sockets for the second reader", n)
		}
		must(t, second.Close())
		eventually(t, "closed after the last reader", func() bool { return ofSource() == 0 && !s.Stats().Open })
		w.comes(frame(1)) // to nobody

		all, err := w.dev.Namespace().Socket(rxring.SockRaw, tpacket.ETHPAll) // all devices
		must(t, err)
		if n := ofSource(); n != 1 {
			t.Errorf("%d sockets for a reader of all devices", n)
		}
		must(t, s.Close())
		if n := ofSource(); n != 0 {
			t.Errorf("%d sockets after the source's Close", n)
		}
		must(t, all.Close())
		if st := s.Stats(); st.Opens != 2 || st.Packets != 0 || st.Open || st.Err != nil {
			t.Errorf("%+v", st)
		}
		must(t, s.Close())
		third := w.ours(quick)
		if n := ofSource(); n != 0 {
			t.Errorf("%d sockets for a reader after Close", n)
		}
		must(t, third.Close())
	})
}

// A socket misses nothing after its bind.
func TestTheFirstPacketAfterBind(t *testing.T) {
	need.Time(t, "it binds many sockets")
	withWire(t, func(w *wire) {
		s := w.start(Config{Immediate: true})
		for i := range 20 {
			ours := w.ours(whole)
			w.comes(frame(i))
			if got := read(t, ours, 1); got[0].data != string(frame(i)) {
				t.Fatalf("%v", got)
			}
			must(t, ours.Close())
		}
		must(t, s.Close())
	})
}

const iflaAllmulti = 61 // IFLA_ALLMULTI (linux/if_link.h)

// What readers ask the device to hear, the kernel's device hears, as long.
func TestMemberships(t *testing.T) {
	withWire(t, func(w *wire) {
		s := w.start(Config{})
		promisc := func() (is bool) {
			w.link(func(l netlink.Link) error { is = l.Attrs().Promisc != 0; return nil })
			return is
		}
		hears := func(addr string) bool {
			var table []byte
			must(t, w.near.Do(func() (err error) {
				table, err = os.ReadFile("/proc/thread-self/net/dev_mcast")
				return err
			}))
			return strings.Contains(string(table), addr)
		}
		allmulti := func() (is bool) {
			w.link(func(l netlink.Link) error {
				req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
				msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
				msg.Index = int32(l.Attrs().Index)
				req.AddData(msg)
				answers, err := req.Execute(unix.NETLINK_ROUTE, 0)
				if err != nil {
					return err
				}
				attrs, err := nl.ParseRouteAttr(answers[0][msg.Len():])
				for _, a := range attrs {
					if a.Attr.Type == iflaAllmulti {
						is = a.Value[0] != 0
					}
				}
				return err
			})
			return is
		}
		group := capture.Membership{Type: capture.Multicast, Addr: [6]byte{1, 0, 0x5e, 1, 2, 3}}
		host := capture.Membership{Type: capture.Unicast, Addr: [6]byte{2, 9, 9, 9, 9, 9}}

		curious := w.ours(capture.Config{Promiscuous: true}) // asks before it binds
		if !promisc() {
			t.Error("not promiscuous for a reader that wants it")
		}
		modest := w.ours(quick)
		must(t, curious.Close())
		if promisc() || !s.Stats().Open {
			t.Error("still promiscuous for one that does not")
		}
		for _, m := range []capture.Membership{group, host, {Type: capture.AllMulticast}, {Type: capture.Promiscuous}} {
			must(t, modest.Join(m))
		}
		if !promisc() || !allmulti() || !hears("01005e010203") {
			t.Errorf("promiscuous: %v, all groups: %v, the group: %v, want all", promisc(), allmulti(), hears("01005e010203"))
		}
		for _, m := range []capture.Membership{group, host, {Type: capture.AllMulticast}, {Type: capture.Promiscuous}} {
			must(t, modest.Leave(m))
		}
		if promisc() || allmulti() || hears("01005e010203") {
			t.Errorf("promiscuous: %v, all groups: %v, the group: %v, want none", promisc(), allmulti(), hears("01005e010203"))
		}
		must(t, modest.Join(capture.Membership{Type: capture.Promiscuous}))
		must(t, s.Close())
		if promisc() {
			t.Error("promiscuous after Close")
		}
		must(t, modest.Close())
		if st := s.Stats(); st.Err != nil {
			t.Error(st.Err)
		}
	})
}

// blocker is somebody whom a socket wakes, and who takes his time.
type blocker struct{ woken, go_ chan struct{} }

func (b blocker) Wake() {
	b.woken <- struct{}{}
	<-b.go_
}

// What the kernel's ring had no room for is counted here, and by each socket: offered
// and dropped.
func TestKernelDrops(t *testing.T) {
	modes(t, func(w *wire, c Config) {
		c.Buffer = 1 // the smallest
		s := w.start(c)
		ns := w.dev.Namespace()
		slow, err := ns.Socket(rxring.SockRaw, 0)
		must(w.t, err)
		b := blocker{make(chan struct{}, 1), make(chan struct{})}
		slow.Arm(b)
		must(w.t, slow.BindDevice(w.dev, 0x88b5))
		w.comes(frame(0))
		<-b.woken // the source is held up from here on
		const n = 3000
		for i := range n - 1 {
			w.comes(frame(900 + i%100))
		}
		close(b.go_)
		eventually(w.t, "every packet is accounted for", func() bool {
			st, totals := s.Stats(), slow.Totals()
			return st.Packets+st.Drops == n && totals.Offered() == n && totals.Drops[ring.Lost] == st.Drops
		})
		if st := s.Stats(); st.Drops == 0 || st.Packets == 0 || (st.Freezes == 0) != c.Immediate {
			w.t.Errorf("%+v", st)
		}
		before := s.Stats()
		must(w.t, slow.Close())
		eventually(w.t, "closed", func() bool { return !s.Stats().Open })
		if st := s.Stats(); st.Drops != before.Drops || st.Packets != before.Packets {
			w.t.Errorf("%+v, %+v while it was open", st, before)
		}
		must(w.t, s.Close())
	})
}

// A packet on its way to readers when the Source is closed arrives whole: the kernel's
// memory, where it lies, is still there.
func TestCloseWaitsForThePacket(t *testing.T) {
	modes(t, func(w *wire, c Config) {
		s := w.start(c)
		first, err := w.dev.Namespace().Socket(rxring.SockRaw, 0)
		must(w.t, err)
		b := blocker{make(chan struct{}, 1), make(chan struct{})}
		first.Arm(b)
		must(w.t, first.BindDevice(w.dev, 0x88b5))
		second := w.ours(quick) // gets each packet after the first has it
		w.comes(frame(777))
		<-b.woken
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		time.Sleep(50 * time.Millisecond) // for a Close that would not wait
		close(b.go_)
		must(w.t, <-closed)
		if got := read(w.t, second, 1); got[0].data != string(frame(777)) {
			w.t.Errorf("%v", got)
		}
		must(w.t, first.Close())
		must(w.t, second.Close())
	})
}

func TestCloseWhileBusy(t *testing.T) {
	need.Time(t, "it opens and closes many sources")
	withWire(t, func(w *wire) {
		for round := range 6 {
			s := w.start(Config{Fanout: 1 + round%2, Immediate: round%3 == 0})
			var (
				stop atomic.Bool
				all  sync.WaitGroup
			)
			all.Go(func() {
				for i := 0; !stop.Load(); i++ {
					w.comes(frame(i))
				}
			})
			for range 2 {
				all.Go(func() {
					for !stop.Load() {
						h, err := capture.OpenDevice(w.dev, capture.Config{Promiscuous: true, Immediate: true})
						if err != nil {
							t.Error(err)
							return
						}
						for range 20 {
							f, err := h.Next(t.Context())
							if err != nil {
								t.Error(err)
								return
							}
							if want := frame(number(f.Data)); string(f.Data) != string(want) {
								t.Errorf("packet %d: % x", number(f.Data), f.Data)
							}
							if stop.Load() {
								break
							}
						}
						h.Close()
					}
				})
			}
			eventually(t, "busy", func() bool { return s.Stats().Packets > 1000 })
			closed := make(chan error, 2)
			last := w.ours(quick)
			go func() { closed <- s.Close() }()
			go func() { closed <- s.Close() }()
			must(t, <-closed)
			must(t, <-closed)
			st := s.Stats()
			if st.Open || st.Err != nil {
				t.Errorf("%+v", st)
			}
			stop.Store(true)
			ended := make(chan struct{})
			go func() { all.Wait(); close(ended) }()
			eventually(t, "its readers have ended", func() bool {
				w.dev.Deliver(&rxring.Packet{Data: frame(1)}) // for those that still wait
				select {
				case <-ended:
					return true
				default:
					return false
				}
			})
			must(t, last.Close())
			if now := s.Stats(); now != st {
				t.Errorf("%+v after Close, %+v when it returned", now, st)
			}
		}
	})
}

// The device goes down and up with the interface, and ends with it.
func TestTheInterfaceGoesAndComes(t *testing.T) {
	need.Time(t, "it captures for a while")
	withWire(t, func(w *wire) {
		s := w.start(Config{Retire: time.Millisecond})
		ours := w.ours(whole)
		w.link(netlink.LinkSetDown)
		eventually(t, "down", func() bool { return !w.dev.Up() })
		socket, err := w.dev.Namespace().Socket(rxring.SockRaw, 0)
		must(t, err)
		defer socket.Close()
		must(t, socket.BindDevice(w.dev, tpacket.ETHPAll))
		if e := socket.Events(); e&rxring.EventErr == 0 {
			t.Errorf("events %#x of a reader of an interface that is down", e)
		}
		eventually(t, "closed", func() bool { return !s.Stats().Open })
		w.link(func(l netlink.Link) error { return netlink.LinkSetName(l, "other0") })
		must(t, w.near.Do(func() error {
			l, err := netlink.LinkByName("other0")
			if err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		}))
		eventually(t, "up", func() bool { return w.dev.Up() && s.Stats().Open })
		w.comes(frame(5))
		// A read that would wait returns the error, once: before frame 5, or after it if that is
		// ready by then. Other packets are the kernel's own, about addresses.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for down, came := 0, false; down == 0 || !came; {
			switch f, err := ours.Next(ctx); {
			case err == nil:
				came = came || string(f.Data) == string(frame(5))
			case errors.Is(err, syscall.ENETDOWN) && down == 0:
				down++
			default:
				t.Fatalf("%v; ENETDOWN came %d times, frame 5 came: %v; want both, once", err, down, came)
			}
		}
		select {
		case <-s.Done():
			t.Fatalf("over: %v", s.Err())
		default:
		}
		must(t, w.near.Do(func() error {
			l, err := netlink.LinkByName("other0")
			if err != nil {
				return err
			}
			return netlink.LinkDel(l)
		}))
		<-s.Done()
		if err := s.Err(); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "near0") {
			t.Errorf("over because of %v", err)
		}
		if w.dev.Up() || s.Stats().Open {
			t.Error("the device is up, or something is open")
		}
		if err := s.Close(); !errors.Is(err, ErrGone) {
			t.Errorf("Close: %v", err)
		}
		if slices.Contains(w.dev.Namespace().Devices(), w.dev) {
			t.Error("the device is still there")
		}
		must(t, ours.Close())
	})
}

// libpcap checks once, when its device goes down, whether it still exists.
func TestADeviceWhoseInterfaceIsRemovedIsNotSeenDown(t *testing.T) {
	withWire(t, func(w *wire) {
		s := w.start(Config{})
		reader, err := w.dev.Namespace().Socket(rxring.SockRaw, 0)
		must(t, err)
		defer reader.Close()
		must(t, reader.BindDevice(w.dev, tpacket.ETHPAll))
		there := make(chan bool)
		go func() {
			for reader.Events()&rxring.EventErr == 0 {
				time.Sleep(10 * time.Microsecond)
			}
			there <- slices.Contains(w.dev.Namespace().Devices(), w.dev)
		}()
		w.link(netlink.LinkDel)
		if <-there {
			t.Error("the reader has ENETDOWN, and its device is there")
		}
		<-s.Done()
		if err := s.Close(); !errors.Is(err, ErrGone) {
			t.Errorf("Close: %v", err)
		}
	})
}

// Too much news for a socket to hold: how the interface is, is asked then.
func TestNewsThatIsLost(t *testing.T) {
	need.Time(t, "it adds many interfaces")
	withWire(t, func(w *wire) {
		s := w.start(Config{})
		s.mu.Lock() // which keeps tend from its news
		s.look()
		eventually(t, "tend waits", func() bool { return len(s.kick) == 0 })
		w.link(func(l netlink.Link) error {
			for i := range 1500 { // messages of more than a kilobyte, into 208 KiB
				if err := netlink.LinkSetMTU(l, 1300+i%2); err != nil {
					return err
				}
			}
			return netlink.LinkSetDown(l) // this one does not fit any more
		})
		s.mu.Unlock()
		eventually(t, "down", func() bool { return !w.dev.Up() })
		w.link(netlink.LinkSetUp)
		eventually(t, "up", func() bool { return w.dev.Up() })
		must(t, s.Close())
	})
}

// A bridge tells that a port has left it with the message that says that an
// interface is gone.
func TestAPortOfABridge(t *testing.T) {
	withWire(t, func(w *wire) {
		s := w.start(Config{Retire: time.Millisecond})
		ours := w.ours(whole)
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "br0"
		bridge := &netlink.Bridge{LinkAttrs: attrs}
		if err := w.near.Do(func() error { return netlink.LinkAdd(bridge) }); err != nil {
			need.Skip(t, need.Kernel, "no bridge devices: %v", err)
		}
		w.link(func(l netlink.Link) error { return netlink.LinkSetMaster(l, bridge) })
		w.link(netlink.LinkSetNoMaster)
		w.link(netlink.LinkSetDown) // news in order: once this has come, so has what was before
		eventually(t, "down", func() bool { return !w.dev.Up() })
		w.link(netlink.LinkSetUp)
		eventually(t, "up", func() bool { return w.dev.Up() })
		if err := s.Err(); err != nil {
			t.Error(err)
		}
		must(t, ours.Close())
		must(t, s.Close())
	})
}

// What fails is told, and tried again.
func TestFailureAndRecovery(t *testing.T) {
	need.Time(t, "it waits for retries")
	withWire(t, func(w *wire) {
		var told atomic.Pointer[error]
		s := w.start(Config{Failed: func(err error) { told.Store(&err) }})
		lookIn := func(n *netns) (was *netns) {
			s.mu.Lock()
			defer s.mu.Unlock()
			was, s.netns = s.netns, n
			return was
		}
		empty, err := kring.New()
		must(t, err)
		defer empty.Close()
		var elsewhere *netns
		must(t, empty.Do(func() (err error) {
			elsewhere, err = currentNetns()
			return err
		}))
		defer elsewhere.close()
		home := lookIn(elsewhere) // where there is no such interface
		ours := w.ours(whole)
		st := s.Stats()
		if err := told.Load(); err == nil || !errors.Is(*err, unix.ENODEV) || !errors.Is(st.Err, unix.ENODEV) || st.Open {
			t.Errorf("told %v; %+v", err, st)
		}
		lookIn(home)
		eventually(t, "open again", func() bool { st := s.Stats(); return st.Open && st.Err == nil })

		// A ring that ends by itself.
		s.mu.Lock()
		d := s.tap.drains[0]
		s.mu.Unlock()
		must(t, d.handle.Close())
		eventually(t, "opened once more", func() bool { st := s.Stats(); return st.Restarts == 1 && st.Open && st.Err == nil })
		w.comes(frame(3))
		if got := read(t, ours, 1); got[0].data != string(frame(3)) {
			t.Error(got)
		}
		must(t, ours.Close())
		must(t, s.Close())
	})
}

// longer lets packets of more than n bytes pass.
func longer(n uint32) []cbpf.Instruction {
	return []cbpf.Instruction{
		{Op: 0x80}, // A = length
		{Op: 0x25, K: n, Jf: 1},
		{Op: 0x06, K: 60},
		{Op: 0x06, K: 0},
	}
}

// The kernel runs the filter that all readers have, and whoever has another one
// still sees all of his.
func TestFilters(t *testing.T) {
	withWire(t, func(w *wire) {
		s := w.start(Config{Immediate: true})
		count := func() uint64 { return s.Stats().Packets }
		filtered := func(want bool) {
			t.Helper()
			if got := s.Stats().Filtered; got != want {
				t.Errorf("the kernel filters: %v, want %v", got, want)
			}
		}
		c := capture.Config{Filter: longer(500), Retire: time.Millisecond}
		ours := w.ours(c)
		filtered(true)
		before := count()
		for range 10 {
			w.comes(frame(100))
		}
		w.comes(frame(600))
		got := read(t, ours, 1)
		if got[0].data != string(frame(600)[:60]) || got[0].len != len(frame(600)) {
			t.Errorf("%v", got)
		}
		if n := count() - before; n != 1 {
			t.Errorf("%d packets came out of the kernel, want the one that passes", n)
		}
		twin := w.ours(c)
		filtered(true)
		other := w.ours(capture.Config{Filter: longer(50), Retire: time.Millisecond})
		filtered(false)
		w.comes(frame(100))
		if got := read(t, other, 1); got[0].data != string(frame(100)[:60]) {
			t.Errorf("%v", got)
		}
		must(t, other.SetFilter(longer(500)))
		filtered(true)
		must(t, other.SetFilter(longer(51)))
		filtered(false)
		must(t, other.Close())
		filtered(true)
		must(t, ours.SetFilter(nil))
		filtered(false)
		must(t, ours.Close())
		filtered(true)

		cooked := w.ours(capture.Config{Cooked: true, Filter: longer(500)})
		filtered(false)
		must(t, cooked.Close())
		must(t, twin.Close())
		must(t, s.Close())
	})
}

func TestDescribe(t *testing.T) {
	withWire(t, func(w *wire) {
		must(t, w.near.Do(func() error {
			c, err := Describe("near0")
			if err != nil {
				return err
			}
			l, err := netlink.LinkByName("near0")
			if err != nil {
				return err
			}
			if c.Name != "near0" || c.Index != l.Attrs().Index || c.Type != rxring.Ethernet || c.MTU != 1500 || c.HardwareAddr != nearAddr ||
				fmt.Sprint(c.Prefixes) != "["+nearIP+"/24]" {
				t.Errorf("%+v", c)
			}
			for name, want := range map[string]error{"nosuch0": unix.ENODEV, "a-name-that-is-too-long": unix.EINVAL, "": unix.ENODEV} {
				if _, err := Describe(name); !errors.Is(err, want) || !strings.Contains(err.Error(), "interface "+name) {
					t.Errorf("%q: %v, want %v", name, err, want)
				}
			}
			return nil
		}))
	})
}

func TestStartErrors(t *testing.T) {
	withWire(t, func(w *wire) {
		bare, err := w.dev.Namespace().AddDevice(rxring.DeviceConfig{Name: "bare0", Type: rxring.RawIP})
		must(t, err)
		for what, c := range map[string]struct {
			dev  *rxring.Device
			cfg  Config
			want error
			says string
		}{
			"no device":       {nil, Config{}, nil, "no device"},
			"no interface":    {bare, Config{}, unix.ENODEV, "interface bare0"},
			"another type":    {bare, Config{Name: "near0"}, unix.EINVAL, "see Describe"},
			"fanout":          {w.dev, Config{Fanout: MaxFanout + 1}, unix.EINVAL, "1 to 256 rings"},
			"negative fanout": {w.dev, Config{Fanout: -1}, unix.EINVAL, "1 to 256 rings"},
			"fanout mode":     {w.dev, Config{Fanout: 2, FanoutMode: rxring.FanoutCBPF}, unix.EINVAL, "FanoutHash"},
			"snaplen":         {w.dev, Config{Snaplen: 1 << 20}, unix.EINVAL, "1 to 262144 bytes"},
			"retire":          {w.dev, Config{Retire: time.Microsecond}, unix.EINVAL, "whole milliseconds"},
			"hash":            {w.dev, Config{Hash: true, Immediate: true}, unix.EINVAL, "Immediate false"},
		} {
			s, err := w.tryStart(c.dev, c.cfg)
			if s != nil || err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %v that says %q", what, err, c.want, c.says)
			}
		}
	})
}

const childEnv = "RXRING_IFACE_CHILD"

// In a user namespace of its own a process has no privilege in the network namespace
// that it comes from.
func TestWithoutPrivilege(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		dev, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "lo", Type: rxring.Loopback})
		must(t, err)
		if _, err := Start(dev, Config{}); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "setcap cap_net_raw") {
			t.Errorf("%v", err)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestWithoutPrivilege$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
		need.Skip(t, need.Kernel, "no user namespace: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestWithoutPrivilege") {
		t.Errorf("%v\n%s", err, out)
	}
}
