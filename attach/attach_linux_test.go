package attach_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(lingerEnv); path != "" {
		lingerAt(path)
	}
	if path := os.Getenv(floodEnv); path != "" {
		flood(path)
	}
	goleak.VerifyTestMain(m)
}

// offer is a server with one device.
type offer struct {
	*attach.Server
	ns  *rxring.Namespace
	dev *rxring.Device
}

func listen(t testing.TB, c attach.Config) offer {
	t.Helper()
	o := offer{ns: rxring.NewNamespace(rxring.NamespaceConfig{FirstIndex: 7})}
	var err error
	if o.dev, err = o.ns.AddDevice(rxring.DeviceConfig{Name: "wg0", MTU: 1420, MaxLen: 9000}); err != nil {
		t.Fatal(err)
	}
	c.Namespace = o.ns
	if o.Server, err = attach.Listen(filepath.Join(t.TempDir(), "s"), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func (o offer) dial(t testing.TB) *attach.Client {
	t.Helper()
	c, err := attach.Dial(t.Context(), o.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// frame is an Ethernet frame of n bytes whose contents follow from i.
func frame(i, n int) []byte {
	b := make([]byte, max(n, 18))
	copy(b, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x07\x88\xb5")
	binary.BigEndian.PutUint32(b[14:], uint32(i))
	for j := 18; j < len(b); j++ {
		b[j] = byte(i + j)
	}
	return b
}

func socket(t testing.TB, c *attach.Client, typ rxring.SockType) *attach.Socket {
	t.Helper()
	s, err := c.Socket(typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func bind(t testing.TB, s *attach.Socket, index int) {
	t.Helper()
	must(t, s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(index), Protocol: tpacket.Htons(tpacket.ETHPAll)}))
}

// statistics reads PACKET_STATISTICS.
func statistics(t testing.TB, s *attach.Socket) (st tpacket.Stats3) {
	t.Helper()
	_, err := s.Getsockopt(tpacket.SolPacket, tpacket.OptStatistics, tpacket.Bytes(&st))
	must(t, err)
	return st
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// bell counts wakes.
type bell chan struct{}

func (b bell) Wake() {
	select {
	case b <- struct{}{}:
	default:
	}
}

func (b bell) wait(t testing.TB) {
	t.Helper()
	select {
	case <-b:
	case <-time.After(30 * time.Second):
		t.Fatal("not woken")
	}
}

// setRing gives s a ring of slots, and returns who reads it.
func setRing(t testing.TB, s *attach.Socket, r tpacket.Req) (*ring.Reader, ring.Memory) {
	t.Helper()
	must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptVersion, u32(uint32(tpacket.V2))))
	must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&r)))
	g, ok := s.Geometry()
	if !ok || g.FrameNr != r.FrameNr || g.FrameSize != r.FrameSize {
		t.Fatalf("ring %+v, %v; want %+v", g, ok, r)
	}
	return openRing(t, s, g)
}

// openRing maps the ring of s, of g's shape, and returns who reads it.
func openRing(t testing.TB, s *attach.Socket, g tpacket.Geometry) (*ring.Reader, ring.Memory) {
	t.Helper()
	fd, err := s.Map(g.Size())
	must(t, err)
	m, err := ring.MapMemory(fd, g.Size())
	must(t, err)
	t.Cleanup(func() { m.Close() })
	must(t, s.Mapped())
	rd, err := ring.NewReader(m, g, nil)
	must(t, err)
	return rd, m
}

var slots = tpacket.Req{BlockSize: 1 << 16, BlockNr: 4, FrameSize: 2048, FrameNr: 128}

func TestRingIsSharedAndWakesItsReader(t *testing.T) {
	o := listen(t, attach.Config{})
	c := o.dial(t)
	s := socket(t, c, rxring.SockRaw)
	rd, _ := setRing(t, s, slots)
	bind(t, s, o.dev.Index())
	if got := s.Addr(); got.Ifindex != 7 || got.Protocol != tpacket.Htons(tpacket.ETHPAll) || got.Halen != 6 {
		t.Errorf("bound to %+v", got)
	}
	w := make(bell, 1)
	const n = 1000
	for i := range n {
		if _, readable, _ := s.Poll(w); readable {
			t.Fatal("readable before there is a packet")
		}
		o.dev.Deliver(&rxring.Packet{Data: frame(i, 64+i)})
		w.wait(t)
		if e, readable, _ := s.Poll(nil); !readable || e != rxring.EventIn {
			t.Fatalf("packet %d: events %#x, readable %v", i, e, readable)
		}
		f, ok := rd.Next()
		if want := frame(i, 64+i); !ok || string(f.Data) != string(want) {
			t.Fatalf("packet %d: %v, % x", i, ok, f.Data)
		}
		f.Release()
	}
	if st := statistics(t, s); st.Packets != n || st.Drops != 0 {
		t.Errorf("statistics %+v", st)
	}
	must(t, s.Close())
	if got := s.Totals(); got.Captured != n || got.Offered() != n {
		t.Errorf("totals after close: %+v", got)
	}
	if err := s.Close(); !errors.Is(err, syscall.EBADF) {
		t.Errorf("close again: %v", err)
	}
}

func TestQueueOfASocketWithoutARing(t *testing.T) {
	o := listen(t, attach.Config{})
	s := socket(t, o.dial(t), rxring.SockDgram)
	must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptAuxdata, u32(1)))
	bind(t, s, 0)
	for i, n := range []int{60, 1500, 65549} { // the longest has all that a segment can have
		o.dev.Deliver(&rxring.Packet{Data: frame(i, n), Timestamp: 1e9 + int64(i)})
		want := frame(i, n)[14:]
		b := make([]byte, 1<<17)
		if got := s.QueuedBytes(); got != len(want) {
			t.Fatalf("%d bytes queued, want %d", got, len(want))
		}
		m, err := s.Recv(b, 0)
		if err != nil || string(b[:m.Copied]) != string(want) || m.N != len(want) {
			t.Fatalf("packet %d: %+v, %v", i, m, err)
		}
		if m.From.Ifindex != 7 || m.From.Protocol != tpacket.Htons(0x88b5) || m.Timestamp != 1e9+int64(i) {
			t.Errorf("packet %d from %+v at %d", i, m.From, m.Timestamp)
		}
		if control := m.Control(1 << 10); len(control) != 16+tpacket.SizeofAuxdata+4 {
			t.Errorf("control messages of %d bytes, want PACKET_AUXDATA", len(control))
		}
	}
	if _, err := s.Recv(make([]byte, 10), 0); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("an empty queue: %v", err)
	}
	if _, err := s.Recv(nil, 0x4000000); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "0x4000000") {
		t.Errorf("flags: %v", err)
	}
}

func TestSending(t *testing.T) {
	o := listen(t, attach.Config{})
	got := make(chan string, 10)
	o.dev.SetTransmit(func(p *rxring.Packet) error { got <- string(p.Data); return nil })
	s := socket(t, o.dial(t), rxring.SockRaw)
	to := &tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: 7}
	if n, err := s.SendTo(frame(5, 100), to); n != 100 || err != nil || <-got != string(frame(5, 100)) {
		t.Fatalf("sent %d, %v", n, err)
	}
	if d, err := s.Route(to); err != nil || d.Name() != "wg0" {
		t.Errorf("route %v, %v", d, err)
	}
	to.Ifindex = 8
	if _, err := s.Route(to); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("no route: %v", err)
	}
	if _, err := s.SendTo(frame(5, 100), to); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("nowhere: %v", err)
	}
	if _, err := s.SendTo(make([]byte, 300<<10), to); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("too long: %v", err)
	}
	if s.Sent() != 1 {
		t.Errorf("%d sent", s.Sent())
	}
}

func TestDevicesFollowTheOthers(t *testing.T) {
	need.Time(t, "it waits for news")
	o := listen(t, attach.Config{})
	c := o.dial(t)
	names := func() (s string) {
		for _, d := range c.Namespace().Devices() {
			s += d.Name()
			if !d.Up() {
				s += " down"
			}
			s += "; "
		}
		return s
	}
	eventually := func(want string) {
		t.Helper()
		for range 3000 {
			if names() == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("devices %q, want %q", names(), want)
	}
	if d, ok := c.Namespace().DeviceByName("wg0"); !ok || d.Index() != 7 || d.MTU() != 1420 || d.MaxLen() != 9000 || d.HardwareAddr() != o.dev.HardwareAddr() {
		t.Fatalf("device %+v", d)
	}
	ours, _ := c.Namespace().DeviceByName("wg0")
	other, err := o.ns.AddDevice(rxring.DeviceConfig{Name: "tun1", Type: rxring.RawIP})
	must(t, err)
	eventually("wg0; tun1; ")
	addrs := []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")}
	must(t, o.dev.SetPrefixes(addrs))
	must(t, o.dev.SetMTU(9000, 0))
	must(t, other.SetMTU(65536, 0))
	for range 3000 {
		if now, ok := c.Namespace().DeviceByName("tun1"); ok && now.MTU() == 65536 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if now, ok := c.Namespace().DeviceByName("wg0"); !ok || now != ours || now.MTU() != 9000 || now.MaxLen() != 9000 || !slices.Equal(now.Prefixes(), addrs) {
		t.Fatalf("device %+v, want the same one with other settings", now)
	}
	o.dev.SetUp(false)
	eventually("wg0 down; tun1; ")
	must(t, o.ns.RemoveDevice(o.dev))
	eventually("tun1; ")
	other.SetUp(false)
	other.SetUp(true)
	eventually("tun1; ")
}

func TestWhatIsLeftWhenTheOtherEndGoes(t *testing.T) {
	o := listen(t, attach.Config{})
	c := o.dial(t)
	s := socket(t, c, rxring.SockRaw)
	rd, _ := setRing(t, s, slots)
	bind(t, s, 7)
	o.dev.Deliver(&rxring.Packet{Data: frame(1, 99)})
	w := make(bell, 1)
	s.Arm(w)
	for len(w) > 0 {
		<-w
	}
	s.Arm(w)
	o.Close()
	w.wait(t)
	<-c.Done()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "the other end has closed the connection") {
		t.Errorf("ended with %v", err)
	}
	if s.Events() != rxring.EventErr {
		t.Errorf("events %#x", s.Events())
	}
	var errno [4]byte
	n, err := s.Getsockopt(1, 4, errno[:]) // SO_ERROR
	if n != 4 || err != nil || syscall.Errno(binary.NativeEndian.Uint32(errno[:])) != syscall.ENETDOWN {
		t.Errorf("SO_ERROR % x, %v", errno, err)
	}
	if e := s.Events(); e != 0 {
		t.Errorf("events after that %#x", e)
	}
	if _, err := s.Recv(nil, 0); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("recv: %v", err)
	}
	if err := s.Setsockopt(tpacket.SolPacket, tpacket.OptReserve, u32(4)); !errors.Is(err, syscall.ENETDOWN) {
		t.Errorf("setsockopt: %v", err)
	}
	if len(c.Namespace().Devices()) != 0 {
		t.Error("the devices are still there")
	}
	// What was in the ring still is.
	if f, ok := rd.Next(); ok && string(f.Data) != string(frame(1, 99)) {
		t.Errorf("another packet: % x", f.Data)
	}
	must(t, s.Close())
}

func TestWhatIsFreedWhenAPeerGoes(t *testing.T) {
	gone := make(chan attach.Event, 10)
	o := listen(t, attach.Config{Notify: func(e attach.Event) {
		if e.Kind != attach.PeerAttached && e.Kind != attach.SocketOpened {
			gone <- e
		}
	}})
	before := descriptors(t)
	for range 3 {
		c := o.dial(t)
		for range 3 {
			s := socket(t, c, rxring.SockRaw)
			setRing(t, s, slots)
			bind(t, s, 7)
		}
		o.dev.Deliver(&rxring.Packet{Data: frame(1, 99)})
		if got := len(o.Status().Sockets); got != 3 || !o.dev.HasListeners() {
			t.Fatalf("%d sockets", got)
		}
		c.Close()
		for range 3 {
			if e := <-gone; e.Kind != attach.SocketClosed || e.Socket.Device != "wg0" || e.Socket.Captured != 1 || e.Peer.UID != uint32(os.Getuid()) {
				t.Errorf("event %+v, %+v", e, e.Socket)
			}
		}
		if e := <-gone; e.Kind != attach.PeerDetached || e.Err != nil || e.Peer.PID != os.Getpid() {
			t.Errorf("event %+v", e)
		}
		if o.dev.HasListeners() || len(o.Status().Sockets) != 0 {
			t.Error("its sockets are still there")
		}
	}
	for range 1000 {
		if descriptors(t) <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d descriptors, %d before", descriptors(t), before)
}

func descriptors(t testing.TB) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(fds)
}

func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	must(t, os.WriteFile(plain, nil, 0o600))
	o := listen(t, attach.Config{})
	for path, want := range map[string]struct {
		err  error
		says string
	}{
		o.Addr():                          {syscall.EADDRINUSE, "another process listens there already"},
		plain:                             {syscall.EEXIST, "is not a socket"},
		filepath.Join(dir, "no", "where"): {syscall.ENOENT, "there is no directory"},
		strings.Repeat("x", 108):          {syscall.EINVAL, "1 to 107 bytes"},
		"":                                {syscall.EINVAL, "1 to 107 bytes"},
		"@abstract":                       {syscall.EINVAL, "not an abstract address"},
	} {
		if _, err := attach.Listen(path, attach.Config{Namespace: o.ns}); !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%q: %v; want %v, %q", path, err, want.err, want.says)
		}
	}
	if _, err := attach.Listen(filepath.Join(dir, "s"), attach.Config{}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("no namespace: %v", err)
	}
}

func TestSocketFile(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("a", max(1, 106-len(dir)))) // as long as it may be
	// Left behind by a process that has died.
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	syscall.Close(fd)
	s, err := attach.Listen(path, attach.Config{Namespace: ns})
	must(t, err)
	if fi, err := os.Stat(path); err != nil || fi.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v; want a socket of mode 0600", fi.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".rxring*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// Now another file is there, which Close must not remove.
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, nil, 0o600))
	s.Close()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// Who looks for the socket all the time never finds it with another mode than it is to
// have, and does not find it at all if it cannot have that.
func TestSocketPermsApplyBeforeTheSocketIsVisible(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	path := filepath.Join(t.TempDir(), "s")
	for range 30 {
		found := make(chan fs.FileMode)
		go func() {
			for {
				if fi, err := os.Lstat(path); err == nil {
					found <- fi.Mode()
					return
				}
			}
		}()
		s, err := attach.Listen(path, attach.Config{Namespace: ns, SocketPerms: func(file string) error { return os.Chmod(file, 0o666) }})
		must(t, err)
		if mode := <-found; mode != fs.ModeSocket|0o666 {
			t.Fatalf("found with mode %v", mode)
		}
		must(t, s.Close())
	}
	no := errors.New("no such group")
	if _, err := attach.Listen(path, attach.Config{Namespace: ns, SocketPerms: func(string) error { return no }}); !errors.Is(err, no) || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDialErrors(t *testing.T) {
	dir := t.TempDir()
	dead, plain := filepath.Join(dir, "dead"), filepath.Join(dir, "plain")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: dead}))
	syscall.Close(fd)
	must(t, os.WriteFile(plain, nil, 0o600))
	refuses := listen(t, attach.Config{Grant: func(attach.Peer) (attach.Grant, error) {
		return attach.Grant{}, errors.New("not on a Friday")
	}})
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "start `rxring serve --at " + filepath.Join(dir, "none"),
		dead:                       "no process listens there any more",
		plain:                      "it is not a socket",
		refuses.Addr():             "not on a Friday",
	} {
		c, err := attach.Dial(t.Context(), path)
		if c != nil || err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want %q", path, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := attach.Dial(ctx, listen(t, attach.Config{}).Addr()); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
}
