package attach_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// The protocol as a peer that is no client of ours would speak it, in numbers of
// its own: message.go must not change without a new version.

func raw(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

func request(op uint16, socket, seq uint32, arguments ...any) []byte {
	b := binary.NativeEndian.AppendUint16(nil, op)
	b = append(b, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, socket)
	b = binary.NativeEndian.AppendUint32(b, seq)
	for _, a := range arguments {
		switch a := a.(type) {
		case int:
			b = binary.NativeEndian.AppendUint32(b, uint32(a))
		case string:
			b = append(b, a...)
		}
	}
	return b
}

const (
	hello, devices, status, newSocket, closeSocket       = 1, 2, 3, 4, 5
	bindSocket, setsockopt, getsockopt, mapRing, receive = 6, 8, 9, 13, 16
	send, mapped                                         = 17, 22
	theVersion                                           = 5
	word                                                 = "rxring\x00\x01"
)

// answer reads what comes: the errno, and what is behind the head.
func answer(t testing.TB, c *net.UnixConn) (errno uint32, rest []byte, fds []int, err error) {
	t.Helper()
	b, oob := make([]byte, 1<<18), make([]byte, 256)
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil || n == 0 {
		return 0, nil, nil, errors.Join(err, errors.New("no answer"))
	}
	if n < 12 {
		t.Fatalf("an answer of %d bytes", n)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	must(t, err)
	for _, m := range msgs {
		got, err := unix.ParseUnixRights(&m)
		must(t, err)
		fds = append(fds, got...)
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	return binary.NativeEndian.Uint32(b[4:]), b[12:n], fds, nil
}

func ask(t testing.TB, c *net.UnixConn, b []byte) (errno uint32, rest []byte, fds []int) {
	t.Helper()
	_, err := c.Write(b)
	must(t, err)
	errno, rest, fds, err = answer(t, c)
	must(t, err)
	return errno, rest, fds
}

// greeted is a raw connection on which hello is over, and its descriptor for
// events.
func greeted(t testing.TB, path string) (*net.UnixConn, int) {
	t.Helper()
	c := raw(t, path)
	errno, rest, fds := ask(t, c, request(hello, 0, 1, word, theVersion))
	if errno != 0 || len(rest) != 4 || len(fds) != 1 {
		t.Fatalf("hello: errno %d, % x, %d descriptors", errno, rest, len(fds))
	}
	return c, fds[0]
}

func TestVersionsThatDoNotUnderstandEachOther(t *testing.T) {
	faults := make(chan attach.Event, 10)
	o := listen(t, attach.Config{Notify: func(e attach.Event) { faults <- e }})
	c := raw(t, o.Addr())
	errno, rest, _ := ask(t, c, request(hello, 0, 1, word, theVersion+1))
	if errno != 0 || binary.NativeEndian.Uint32(rest) != theVersion {
		t.Errorf("a newer client is told %d, % x; want our version", errno, rest)
	}
	if e := <-faults; e.Kind != attach.PeerFaulted || !strings.Contains(e.Err.Error(), "it speaks version 6 of the protocol, this server speaks version 5") {
		t.Errorf("event %+v", e)
	}

	newer := fake(t, func(c *net.UnixConn, b []byte) {
		c.Write(append(request(hello, 0, 1), theVersion+1, 0, 0, 0))
	})
	if _, err := attach.Dial(t.Context(), newer); !errors.Is(err, syscall.EPROTONOSUPPORT) || !strings.Contains(err.Error(), "it speaks version 6 of the protocol, this process speaks version 5: use the same rxring at both ends") {
		t.Errorf("a newer server: %v", err)
	}
}

// fake is a server that answers each message as it likes.
func fake(t testing.TB, answer func(c *net.UnixConn, b []byte)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "f")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	must(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				b := make([]byte, 1<<18)
				for {
					n, err := c.Read(b)
					if err != nil || n == 0 {
						return
					}
					answer(c, b[:n])
				}
			})
		}
	})
	return path
}

func TestServerThatHangs(t *testing.T) {
	defer attach.SetIOTimeout(50 * time.Millisecond)()
	hangs := fake(t, func(*net.UnixConn, []byte) {})
	if _, err := attach.Dial(t.Context(), hangs); !errors.Is(err, syscall.ENETDOWN) || !strings.Contains(err.Error(), "did not answer for 50ms") {
		t.Errorf("%v", err)
	}
}

func TestNonsenseEndsTheConnection(t *testing.T) {
	faults := make(chan attach.Event, 100)
	o := listen(t, attach.Config{Notify: func(e attach.Event) {
		if e.Kind == attach.PeerFaulted {
			faults <- e
		}
	}})
	for name, b := range map[string][]byte{
		"one byte":                   {1},
		"no such operation":          request(99, 0, 1),
		"operation 0":                request(0, 0, 1),
		"hello again":                request(hello, 0, 1, word, theVersion),
		"no such socket":             request(bindSocket, 77, 1, string(make([]byte, 20))),
		"arguments cut short":        request(newSocket, 0, 1, 3),
		"arguments too long":         request(newSocket, 0, 1, 3, 3, 3),
		"a protocol of 17 bits":      request(newSocket, 0, 1, 3, 1<<16),
		"a list from past its end":   request(devices, 0, 1, 1000, 0),
		"a status from past its end": request(status, 0, 1, -1),
		"longer than a message":      request(newSocket, 0, 1, string(make([]byte, 200<<10))),
	} {
		c, _ := greeted(t, o.Addr())
		_, err := c.Write(b)
		must(t, err)
		if _, _, _, err := answer(t, c); err == nil {
			t.Errorf("%s: answered", name)
		}
		select {
		case e := <-faults:
			if e.Err == nil {
				t.Errorf("%s: no reason", name)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("%s: no event", name)
		}
	}
	for name, b := range map[string][]byte{
		"no hello":      request(newSocket, 0, 1, 3, 3),
		"another magic": request(hello, 0, 1, "rxring\x00\x02", theVersion),
		"nothing else":  {0},
	} {
		c := raw(t, o.Addr())
		_, err := c.Write(b)
		must(t, err)
		if _, _, _, err := answer(t, c); err == nil {
			t.Errorf("%s: answered", name)
		}
		<-faults
	}
	// On a socket of its own.
	for name, b := range map[string][]byte{
		"option of 5000 bytes":          request(setsockopt, 1, 2, 263, 5, 0, string(make([]byte, 5000))),
		"room for an option of 2^31":    request(getsockopt, 1, 2, 263, 5, -1<<31),
		"bind to 19 bytes":              request(bindSocket, 1, 2, string(make([]byte, 19))),
		"an address that is not there":  request(send, 1, 2, 1),
		"a memory of half a size":       request(mapRing, 1, 2, 5),
		"a filter of 9 bytes":           request(10, 1, 2, "123456789"),
		"close with arguments":          request(closeSocket, 1, 2, 1),
		"half an argument of a receive": request(receive, 1, 2, 0),
	} {
		c, _ := greeted(t, o.Addr())
		if errno, _, _ := ask(t, c, request(newSocket, 0, 1, 3, 3)); errno != 0 {
			t.Fatalf("socket: %d", errno)
		}
		_, err := c.Write(b)
		must(t, err)
		if _, _, _, err := answer(t, c); err == nil {
			t.Errorf("%s: answered", name)
		}
		<-faults
	}
}

// What a peer does with what it was given: nothing of it reaches others.
func TestDescriptorsThatAPeerHolds(t *testing.T) {
	need.Time(t, "it opens as many as a process may")
	o := listen(t, attach.Config{})
	lawful := o.dial(t)
	other := socket(t, lawful, rxring.SockRaw)
	rd, _ := setRing(t, other, slots)
	bind(t, other, 7)

	c, events := greeted(t, o.Addr())
	ask(t, c, request(newSocket, 0, 1, 3, tpacket.ETHPAll))
	ask(t, c, request(setsockopt, 1, 2, tpacket.SolPacket, tpacket.OptVersion, 0, 1))
	if errno, rest, _ := ask(t, c, request(setsockopt, 1, 3, tpacket.SolPacket, tpacket.OptRxRing, 0, string(tpacket.Bytes(&slots)))); errno != 0 {
		t.Fatalf("ring: %d %s", errno, rest)
	}
	size := int(slots.BlockSize * slots.BlockNr)
	memory := memfd(t, size)
	b, err := unix.Mmap(memory, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	defer unix.Munmap(b)
	if errno, rest, _ := askWithFD(t, c, memory, request(mapRing, 1, 4, size, 0)); errno != 0 {
		t.Fatalf("map: %d %s", errno, rest)
	}
	if errno, rest, _ := ask(t, c, request(mapped, 1, 4)); errno != 0 {
		t.Fatalf("mapped: %d %s", errno, rest)
	}
	sealed(t, memory, b)
	// It makes our events wait, if they could, and takes none. Each packet is one.
	must(t, unix.SetNonblock(events, false))
	for i := range 2000 {
		ask(t, c, request(15, 1, uint32(5+i), 1)) // poll, and arm
		o.dev.Deliver(&rxring.Packet{Data: frame(i, 64)})
		f, ok := rd.Next()
		if !ok || string(f.Data) != string(frame(i, 64)) {
			t.Fatalf("packet %d of another reader: %v", i, ok)
		}
		f.Release()
	}
	// It scribbles.
	for i := range 2000 {
		for range 50 {
			b[rand.IntN(len(b))] = byte(rand.Int())
		}
		o.dev.Deliver(&rxring.Packet{Data: frame(i, 64)})
		f, ok := rd.Next()
		if !ok || string(f.Data) != string(frame(i, 64)) {
			t.Fatalf("packet %d of another reader: %v", i, ok)
		}
		f.Release()
	}
	if st := statistics(t, other); st.Packets != 4000 || st.Drops != 0 {
		t.Errorf("another reader: %+v", st)
	}
	if errno, _, _ := ask(t, c, request(closeSocket, 1, 9999)); errno != 0 {
		t.Errorf("close: %d", errno)
	}
}

func TestDescriptorsThatAPeerSendsAreClosed(t *testing.T) {
	o := listen(t, attach.Config{})
	c, _ := greeted(t, o.Addr())
	before := descriptors(t)
	for i := range 50 {
		_, _, err := c.WriteMsgUnix(request(devices, 0, uint32(2+i), 0, 1), unix.UnixRights(0), nil)
		must(t, err)
		if errno, rest, _, err := answer(t, c); errno != 0 || err != nil || !bytes.Contains(rest, []byte(`"wg0"`)) {
			t.Fatalf("devices: %d, %s, %v", errno, rest, err)
		}
	}
	eventually(t, "they are closed", func() bool { return descriptors(t) <= before })
	// More than one: the connection is ended.
	_, _, err := c.WriteMsgUnix(request(devices, 0, 99, 0, 1), unix.UnixRights(0, 1, 2, 0, 1, 2), nil)
	must(t, err)
	if _, _, _, err := answer(t, c); err == nil {
		t.Error("six descriptors: answered")
	}
	for i := 0; descriptors(t) > before; i++ {
		if i == 1000 {
			t.Fatalf("%d descriptors, %d before", descriptors(t), before)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestLimits(t *testing.T) {
	large := tpacket.Req{BlockSize: 1 << 16, BlockNr: 64, FrameSize: 2048, FrameNr: 64 * 32}
	size := int64(large.BlockSize * large.BlockNr)
	o := listen(t, attach.Config{Grant: func(attach.Peer) (attach.Grant, error) {
		return attach.Grant{MaxSockets: 3, MaxMemory: 2*size + 2<<20}, nil
	}})
	a, b := o.dial(t), o.dial(t)
	s := socket(t, a, rxring.SockRaw)
	setRing(t, s, large)
	other := socket(t, b, rxring.SockRaw)
	setRing(t, other, large)
	third := socket(t, b, rxring.SockRaw)
	// A user's processes share what there is.
	if _, err := a.Socket(rxring.SockRaw, 0); !errors.Is(err, syscall.ENFILE) || !strings.Contains(err.Error(), "has 3 packet sockets, the most that are granted") {
		t.Errorf("a fourth socket: %v", err)
	}
	must(t, third.Setsockopt(tpacket.SolPacket, tpacket.OptVersion, u32(1)))
	if err := third.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&large)); !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "budget") {
		t.Errorf("a third ring: %v", err)
	}
	a.Close()
	eventually(t, "memory is given back", func() bool {
		return third.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&large)) == nil
	})
	if _, err := b.Socket(rxring.SockRaw, 0); err != nil {
		t.Errorf("a socket is free again: %v", err)
	}
	if err := other.Setsockopt(1, unix.SO_RCVBUFFORCE, u32(1<<20)); !errors.Is(err, syscall.EPERM) {
		t.Errorf("SO_RCVBUFFORCE: %v", err)
	}
	// Connections, too.
	var all []*net.UnixConn
	for range 63 {
		c, _ := greeted(t, o.Addr())
		all = append(all, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := attach.Dial(ctx, o.Addr()); !errors.Is(err, syscall.EAGAIN) || !errors.Is(err, context.DeadlineExceeded) ||
		!strings.Contains(err.Error(), "64 processes attached, the most that are allowed: no attempt succeeded: try again later") {
		t.Errorf("a 65th process: %v", err)
	}
	all[0].Close()
	eventually(t, "there is room for one again", func() bool {
		c, err := attach.Dial(t.Context(), o.Addr())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for range 3000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// to88b5 lets only packets of EtherType 0x88b5 pass, whole.
var to88b5 = []cbpf.Instruction{
	{Op: 0x28, K: 12}, // ldh [12]
	{Op: 0x15, Jf: 1, K: 0x88b5},
	{Op: 0x06, K: 0x40000},
	{Op: 0x06},
}

func TestRegrant(t *testing.T) {
	var mu sync.Mutex
	g := attach.Grant{}
	var refuse error
	o := listen(t, attach.Config{Grant: func(attach.Peer) (attach.Grant, error) {
		mu.Lock()
		defer mu.Unlock()
		return g, refuse
	}})
	grant := func(to attach.Grant, err error) {
		mu.Lock()
		g, refuse = to, err
		mu.Unlock()
		o.Regrant()
	}
	secret, err := o.ns.AddDevice(rxring.DeviceConfig{Name: "secret0"})
	must(t, err)
	c := o.dial(t)
	s := socket(t, c, rxring.SockRaw)
	rd, _ := setRing(t, s, slots)
	bind(t, s, 7)
	sees := func(b []byte) string {
		t.Helper()
		o.dev.Deliver(&rxring.Packet{Data: b})
		f, ok := rd.Next()
		if !ok {
			return ""
		}
		defer f.Release()
		return string(f.Data)
	}
	other := frame(1, 100)
	other[13] = 0xb6
	if sees(other) != string(other) {
		t.Error("everything is granted, and it does not see it")
	}
	grant(attach.Grant{Socket: rxring.Grant{Filter: to88b5, Snaplen: 40, Devices: func(d *rxring.Device) bool { return d.Name() == "wg0" }}}, nil)
	if got := sees(other); got != "" {
		t.Errorf("it sees % x", got)
	}
	if got, want := sees(frame(2, 100)), frame(2, 100)[:40]; got != string(want) {
		t.Errorf("it sees % x, want % x", got, want)
	}
	if err := s.Setsockopt(1, unix.SO_DETACH_FILTER, u32(0)); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("it detaches what is not its own: %v", err)
	}
	must(t, s.AttachFilter([]cbpf.Instruction{{Op: 0x06, K: 0xffffffff}}))
	if got := sees(other); got != "" {
		t.Errorf("with a filter of its own it sees % x", got)
	}
	eventually(t, "the device is gone", func() bool { return len(c.Namespace().Devices()) == 1 })
	if err := s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(secret.Index())}); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("bound to what is not granted: %v", err)
	}
	grant(attach.Grant{Socket: rxring.Grant{Devices: func(*rxring.Device) bool { return false }}}, nil)
	if e := s.Events(); e&rxring.EventErr == 0 || o.dev.HasListeners() {
		t.Errorf("events %#x, watched %v", e, o.dev.HasListeners())
	}
	grant(attach.Grant{}, errors.New("no more"))
	<-c.Done()
	if err := c.Err(); !errors.Is(err, syscall.EACCES) || !strings.Contains(err.Error(), "this user may not read any more") {
		t.Errorf("the connection has ended: %v", err)
	}
	if _, err := attach.Dial(t.Context(), o.Addr()); err == nil || !strings.Contains(err.Error(), "no more") {
		t.Errorf("dial: %v", err)
	}
}

func TestStatusIsOnesOwn(t *testing.T) {
	o := listen(t, attach.Config{
		Grant: func(p attach.Peer) (attach.Grant, error) {
			return attach.Grant{AllStatus: p.ID == 2, Socket: rxring.Grant{Devices: func(d *rxring.Device) bool { return d.Name() == "wg0" }}}, nil
		},
		Describe: func(d *rxring.Device) attach.Description {
			return attach.Description{Source: "test:" + d.Name(), Counters: map[string]uint64{"packets": 7}}
		},
	})
	_, err := o.ns.AddDevice(rxring.DeviceConfig{Name: "secret0"})
	must(t, err)
	c := o.dial(t)
	s := socket(t, c, rxring.SockRaw)
	setRing(t, s, slots)
	must(t, s.AttachFilter(to88b5))
	bind(t, s, 7)
	st, err := c.Status()
	must(t, err)
	if len(st.Devices) != 1 || st.Devices[0].Name != "wg0" || st.Devices[0].Source != "test:wg0" || st.Devices[0].MTU != 1420 {
		t.Errorf("devices %+v", st.Devices)
	}
	if c := st.Devices[0].Counters; c != nil {
		t.Errorf("counters %v: they count what the grant hides", c)
	}
	if st, err := o.dial(t).Status(); err != nil || st.Devices[0].Counters["packets"] != 7 {
		t.Errorf("with AllStatus: %+v, %v", st.Devices, err)
	}
	if len(st.Sockets) != 1 || st.Sockets[0].Device != "wg0" || st.Sockets[0].Filter != len(to88b5) || st.Sockets[0].Ring == nil || st.Sockets[0].Peer.PID != os.Getpid() {
		t.Errorf("sockets %+v", st.Sockets)
	}
	if all := o.Status(); len(all.Devices) != 2 {
		t.Errorf("the owner sees %+v", all.Devices)
	}
	// Lists that come in many pieces.
	all := listen(t, attach.Config{})
	var addrs []netip.Prefix
	for i := range 100 {
		addrs = append(addrs, netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(i + 1), 14: 0xff, 8: 0xff}), 64))
	}
	for i := range 200 {
		_, err := all.ns.AddDevice(rxring.DeviceConfig{Name: fmt.Sprint("d", i), Prefixes: addrs})
		must(t, err)
	}
	c2 := all.dial(t)
	if st, err := c2.Status(); err != nil || len(st.Devices) != 201 || len(c2.Namespace().Devices()) != 201 {
		t.Errorf("%d devices, %d mirrored, %v", len(st.Devices), len(c2.Namespace().Devices()), err)
	}
}

// A peer that comes while what is granted changes gets what is granted now.
func TestRegrantWhileAPeerComes(t *testing.T) {
	listening := make(chan *attach.Server, 1)
	var asked atomic.Int32
	o := listen(t, attach.Config{Grant: func(attach.Peer) (attach.Grant, error) {
		if asked.Add(1) == 1 {
			(<-listening).Regrant() // what is returned is out of date
			return attach.Grant{}, nil
		}
		return attach.Grant{}, syscall.EACCES
	}})
	listening <- o.Server
	if c, err := attach.Dial(t.Context(), o.Addr()); !errors.Is(err, syscall.EACCES) {
		t.Errorf("%v, %v", c, err)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}
