package iface

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// whole is how both readers read: all of a packet and of what is known of it, with
// room for all that a test sends.
var whole = capture.Config{VnetHeader: true, Retire: time.Millisecond, Buffer: 64 << 20}

func modes(t *testing.T, fn func(w *wire, c Config)) {
	withWire(t, func(w *wire) {
		for _, immediate := range []bool{false, true} {
			t.Run(fmt.Sprintf("immediate=%v", immediate), func(t *testing.T) {
				sub := *w
				sub.t = t
				fn(&sub, Config{Immediate: immediate, Retire: time.Millisecond, Buffer: 64 << 20})
			})
		}
	})
}

// What comes and what leaves, tagged or not, of all lengths, is what a kernel socket
// shows, byte for byte and in order.
func TestPacketsAreTheKernels(t *testing.T) {
	modes(t, func(w *wire, c Config) {
		s := w.start(c)
		defer s.Close()
		kernel, ours := w.kernel(whole), w.ours(whole)
		defer ours.Close()
		defer kernel.Close()
		const n = 800 // of 960 slots
		start := time.Now()
		onOneCPU(w.t, func() {
			for i := range n {
				b := frame(i)
				switch i % 7 {
				case 3:
					b = tagged(b, tpacket.ETHP8021Q, uint16(i%4094+1))
				case 4:
					b = tagged(tagged(b, tpacket.ETHP8021Q, 7), tpacket.ETHP8021AD, uint16(i%4094+1))
				case 5: // to everybody, and to a group
					copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}[:6-i%2*5])
				}
				if i%3 == 0 {
					w.leaves(b)
				} else {
					w.comes(b)
				}
			}
		})
		got, want := read(w.t, ours, n), read(w.t, kernel, n)
		same(w.t, got, want)

		w.comes(frame(1))
		f, err := ours.Next(w.t.Context())
		must(w.t, err)
		if at := f.Time(); at.Before(start) || at.After(time.Now()) {
			w.t.Errorf("a packet of %v, which was sent after %v", at, start)
		}
		if got := s.Stats(); got.Packets != n+1 || got.Cut+got.Drops+got.Freezes+got.Restarts != 0 || got.Opens != 1 || !got.Open || got.Err != nil {
			w.t.Errorf("%+v", got)
		}
	})
}

// Large segments keep how they are to be cut, and checksums that they are not there
// yet.
func TestLargeSegments(t *testing.T) {
	need.Time(t, "it sends streams of large segments")
	modes(t, func(w *wire, c Config) {
		c.Hash = !c.Immediate
		hashed := whole
		hashed.Hash = c.Hash
		s := w.start(c)
		defer s.Close()
		kernel, ours := w.kernel(hashed), w.ours(hashed)
		defer ours.Close()
		defer kernel.Close()
		stream(w.t, w.near, w.far, 4<<20)
		stream(w.t, w.far, w.near, 4<<20)
		got, want := read(w.t, ours, 0), read(w.t, kernel, 0)
		if k, err := kernel.Stats(); err != nil || k.Drops != 0 {
			w.t.Fatalf("the kernel's own socket dropped: %+v, %v", k, err)
		}
		var large, partial, in int
		for _, p := range want {
			if p.vnet[vnetGSOType] == byte(rxring.GSOTCPv4) {
				if large++; p.from.Pkttype != tpacket.PacketOutgoing {
					in++
				}
			}
			if p.status&tpacket.StatusCsumNotReady != 0 {
				partial++
			}
		}
		if large == 0 || in == 0 || in == large || partial == 0 {
			w.t.Fatalf("of %d packets %d large, %d of them in, %d without a checksum: nothing to compare", len(want), large, in, partial)
		}
		w.t.Logf("%d packets, %d of them large, %d without a checksum", len(want), large, partial)
		sortSeen(got) // two CPUs at once: each socket has its own order
		sortSeen(want)
		same(w.t, got, want)
		if st := s.Stats(); st.Cut+st.Drops != 0 {
			w.t.Errorf("%+v", st)
		}
	})
}

// Segments of BIG TCP are whole, also where they were allowed after the device was made.
func TestBigTCP(t *testing.T) {
	need.Time(t, "it sends streams of large segments")
	withWire(t, func(w *wire) {
		const longest = 185000
		for name, end := range map[string]*kring.Namespace{"near0": w.near, "far0": w.far} {
			must(t, end.Do(func() error {
				l, err := netlink.LinkByName(name)
				if err != nil {
					return err
				}
				if err := netlink.LinkSetGSOIPv4MaxSize(l, longest); err != nil {
					need.Skip(t, need.Kernel, "no BIG TCP for IPv4 (Linux 6.3 has it): %v", err)
				}
				return netlink.LinkSetGROIPv4MaxSize(l, longest)
			}))
		}
		must(t, w.near.Do(func() error {
			c, err := Describe("near0")
			if c.MaxLen != longest {
				t.Errorf("the longest packet has %d bytes, want %d: %v", c.MaxLen, longest, err)
			}
			return err
		}))
		s := w.start(Config{})
		defer s.Close()
		kernel, ours := w.kernel(whole), w.ours(whole)
		defer ours.Close()
		defer kernel.Close()
		big := 0
		for range 5 { // TCP makes its segments longer by and by
			stream(t, w.far, w.near, 8<<20)
			got, want := read(t, ours, 0), read(t, kernel, 0)
			for _, p := range want {
				if p.len > 1<<16+etherLen {
					big++
				}
			}
			sortSeen(got) // two CPUs at once: each socket has its own order
			sortSeen(want)
			same(t, got, want)
		}
		if big == 0 {
			t.Error("no packet above 64 KiB: nothing to compare")
		}
		if st := s.Stats(); st.Cut+st.Drops != 0 {
			t.Errorf("%+v", st)
		}
		t.Logf("%d packets above 64 KiB", big)
	})
}

// stream sends n bytes of TCP from one namespace to the other.
func stream(t testing.TB, from, to *kring.Namespace, n int64) {
	t.Helper()
	ip := map[bool]string{true: nearIP, false: farIP}
	var l net.Listener
	must(t, to.Do(func() (err error) {
		l, err = net.Listen("tcp", "0.0.0.0:5001")
		return err
	}))
	defer l.Close()
	got := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			var read int64
			if read, err = io.Copy(io.Discard, conn); err == nil && read != n {
				err = fmt.Errorf("%d bytes of %d", read, n)
			}
			conn.Close()
		}
		got <- err
	}()
	var conn net.Conn
	must(t, from.Do(func() error {
		addr := ip[false] + ":5001"
		if hasAddr(farIP) {
			addr = ip[true] + ":5001"
		}
		c, err := net.DialTimeout("tcp", addr, 10*time.Second)
		conn = c
		return err
	}))
	_, err := io.CopyN(conn, zeros{}, n)
	must(t, err)
	must(t, conn.(*net.TCPConn).CloseWrite())
	must(t, <-got)
	conn.Close()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// hasAddr says whether the calling thread's namespace has the address.
func hasAddr(ip string) bool {
	links, err := netlink.LinkList()
	if err != nil {
		return false
	}
	for _, l := range links {
		addrs, _ := netlink.AddrList(l, netlink.FAMILY_V4)
		for _, a := range addrs {
			if a.IP.String() == ip {
				return true
			}
		}
	}
	return false
}

// The kernel shows a packet on loopback as it leaves and as it comes, to this host.
func TestLoopback(t *testing.T) {
	need.Time(t, "it captures for a second")
	withWire(t, func(w *wire) {
		w.takeLoopback()
		if c := w.dev; c.Type() != rxring.Loopback || c.MTU() != 65536 || c.Index() != 1 {
			t.Errorf("lo is described as a device of type %d, MTU %d, index %d", c.Type(), c.MTU(), c.Index())
		}
		s := w.start(Config{Retire: time.Millisecond})
		defer s.Close()
		kernel, ours := w.kernel(whole), w.ours(whole)
		defer ours.Close()
		defer kernel.Close()
		const n = 50
		must(t, w.near.Do(func() error {
			conn, err := net.Dial("udp", "127.0.0.1:9")
			if err != nil {
				return err
			}
			defer conn.Close()
			for i := range n {
				conn.Write(make([]byte, i)) // an error tells that nobody listens
			}
			return nil
		}))
		got, want := read(t, ours, 0), read(t, kernel, 0)
		var out, in int
		for i := range want {
			switch want[i].from.Pkttype {
			case tpacket.PacketOutgoing:
				out++
			case tpacket.PacketHost:
				in++
			}
		}
		if out < n || in != out {
			t.Fatalf("%d packets out, %d in, %d sent", out, in, n)
		}
		same(t, got, want)
	})
}

// A packet without a link-layer header.
func TestTunnels(t *testing.T) {
	withWire(t, func(w *wire) {
		tun := w.takeTunnel()
		defer tun.Close()
		if w.dev.Type() != rxring.RawIP || w.dev.Index() != 77 {
			t.Errorf("tun0 is described as a device of type %d, index %d", w.dev.Type(), w.dev.Index())
		}
		s := w.start(Config{Retire: time.Millisecond})
		defer s.Close()
		kernel, ours := w.kernel(whole), w.ours(whole)
		defer ours.Close()
		defer kernel.Close()
		packet := make([]byte, 60)
		packet[0] = 0x45
		must(t, tun.Receive(packet))
		packet[0] = 0x60
		must(t, tun.Receive(packet))
		same(t, read(t, ours, 2), read(t, kernel, 2))
	})
}

// Several rings share the packets: none is missing and none comes twice.
func TestFanout(t *testing.T) {
	need.Time(t, "it sends through fanout groups")
	withWire(t, func(w *wire) {
		for _, mode := range []rxring.FanoutMode{rxring.FanoutHash, rxring.FanoutCPU, rxring.FanoutLB} {
			s := w.start(Config{Fanout: 4, FanoutMode: mode, Retire: time.Millisecond, Buffer: 16 << 20})
			kernel, ours := w.kernel(whole), w.ours(whole)
			if n := w.packetSockets(); n != 4+1+1 {
				t.Errorf("mode %d: %d packet sockets, want 4 of the source, the test's reader and the one that sends", mode, n)
			}
			stream(t, w.far, w.near, 4<<20)
			got, want := read(t, ours, 0), read(t, kernel, 0)
			sortSeen(got)
			sortSeen(want)
			same(t, got, want)
			ours.Close()
			kernel.Close()
			must(t, s.Close())
		}
	})
}

// What does not fit into the kernel's frames is cut, and counted. Readers see how long
// it was.
func TestSnaplen(t *testing.T) {
	withWire(t, func(w *wire) {
		s := w.start(Config{Snaplen: 100, Retire: time.Millisecond})
		defer s.Close()
		ours := w.ours(whole)
		defer ours.Close()
		w.comes(frame(900))
		w.comes(frame(20))
		got := read(t, ours, 2)
		if len(got[0].data) != 100 || got[0].data != string(frame(900)[:100]) || got[0].len != len(frame(900)) || got[1].data != string(frame(20)) {
			t.Errorf("%v", got)
		}
		if st := s.Stats(); st.Cut != 1 || st.Packets != 2 {
			t.Errorf("%+v", st)
		}
	})
}
