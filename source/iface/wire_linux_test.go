package iface

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// wire is a veth pair between two namespaces of the test's own: near0 is the
// interface that is captured.
type wire struct {
	t         testing.TB
	near, far *kring.Namespace
	dev       *rxring.Device // near0's
	sockets   [2]int         // that send, on the near and the far end
}

const (
	nearIP = "192.0.2.1" // TEST-NET-1 (RFC 5737)
	farIP  = "192.0.2.2"
)

var (
	nearAddr = [6]byte{2, 0, 0, 0, 0, 1}
	farAddr  = [6]byte{2, 0, 0, 0, 0, 2}
)

// withWire runs fn, all of a top-level test, where the kernel can be asked, and
// looks after it that nothing is left.
func withWire(t *testing.T, fn func(w *wire)) {
	kringtest.Run(t, func(near *kring.Namespace) {
		before := goleak.IgnoreCurrent()
		fds := descriptors(t)
		w := newWire(t, near)
		fn(w)
		w.close()
		if err := goleak.Find(before); err != nil {
			t.Error(err)
		}
		eventually(t, "no descriptor is left", func() bool { return descriptors(t) == fds })
	})
}

func newWire(t testing.TB, near *kring.Namespace) *wire {
	t.Helper()
	far, err := kring.New()
	must(t, err)
	w := &wire{t: t, near: near, far: far}
	var farFD *os.File
	must(t, far.Do(func() (err error) {
		farFD, err = os.Open(threadNetns)
		return err
	}))
	defer farFD.Close()
	must(t, near.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = "near0", nearAddr[:]
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "far0", PeerHardwareAddr: farAddr[:], PeerNamespace: netlink.NsFd(int(farFD.Fd()))}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("veth pair: %w", err)
		}
		return configure("near0", nearIP)
	}))
	must(t, far.Do(func() error { return configure("far0", farIP) }))
	w.awaitCarrier()
	must(t, near.Do(func() error {
		c, err := Describe("near0")
		if err != nil {
			return err
		}
		w.dev, err = rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(c)
		return err
	}))
	for i, end := range []*kring.Namespace{near, far} {
		name := []string{"near0", "far0"}[i]
		must(t, end.Do(func() (err error) {
			l, err := lookUp(name)
			if err != nil {
				return err
			}
			if w.sockets[i], err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			return unix.Bind(w.sockets[i], &unix.SockaddrLinklayer{Ifindex: l.index})
		}))
	}
	return w
}

// awaitCarrier returns when the near end has noticed that the far end is up: until
// then the kernel drops what is sent, without a word.
func (w *wire) awaitCarrier() {
	w.t.Helper()
	eventually(w.t, "a carrier", func() (up bool) {
		w.link(func(l netlink.Link) error {
			up = l.Attrs().OperState == netlink.OperUp
			return nil
		})
		return up
	})
}

// takeLoopback has w.dev stand for the near namespace's lo, which is up.
func (w *wire) takeLoopback() {
	w.t.Helper()
	w.take("lo", func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
}

// takeTunnel has w.dev stand for a TUN device, tun0 with the index 77.
func (w *wire) takeTunnel() *kring.Device {
	w.t.Helper()
	tun, err := w.near.TUN("tun0", 77)
	must(w.t, err)
	w.take("tun0", func() error { return nil })
	return tun
}

// take has w.dev stand for another interface of the near namespace, after setUp.
func (w *wire) take(name string, setUp func() error) {
	w.t.Helper()
	must(w.t, w.near.Do(func() error {
		if err := setUp(); err != nil {
			return err
		}
		c, err := Describe(name)
		if err != nil {
			return err
		}
		w.dev, err = rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(c)
		return err
	}))
}

func configure(name, ip string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(ip + "/24")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, addr); err != nil {
		return fmt.Errorf("address %s: %w", ip, err)
	}
	return netlink.LinkSetUp(l)
}

func (w *wire) close() {
	for _, fd := range w.sockets {
		unix.Close(fd)
	}
	w.far.Close()
}

// link does something to near0.
func (w *wire) link(do func(netlink.Link) error) {
	w.t.Helper()
	must(w.t, w.near.Do(func() error {
		l, err := netlink.LinkByName("near0")
		if err != nil {
			return err
		}
		return do(l)
	}))
}

// start starts a Source in the near namespace.
func (w *wire) start(c Config) *Source {
	w.t.Helper()
	s, err := w.tryStart(w.dev, c)
	must(w.t, err)
	w.t.Cleanup(func() { s.Close() })
	return s
}

func (w *wire) tryStart(dev *rxring.Device, c Config) (s *Source, err error) {
	err = w.near.Do(func() error {
		s, err = Start(dev, c)
		return err
	})
	return s, err
}

// kernel reads near0 through a kernel socket of its own, ours through the device.
func (w *wire) kernel(c capture.Config) (h *capture.Handle) {
	w.t.Helper()
	must(w.t, w.near.Do(func() (err error) {
		h, err = capture.Open(w.dev.Name(), c)
		return err
	}))
	w.t.Cleanup(func() { h.Close() })
	return h
}

func (w *wire) ours(c capture.Config) *capture.Handle {
	w.t.Helper()
	h, err := capture.OpenDevice(w.dev, c)
	must(w.t, err)
	w.t.Cleanup(func() { h.Close() })
	return h
}

// comes has the far end send a frame, leaves the near end.
func (w *wire) comes(frame []byte)  { w.send(1, frame) }
func (w *wire) leaves(frame []byte) { w.send(0, frame) }

func (w *wire) send(end int, frame []byte) {
	if _, err := unix.Write(w.sockets[end], frame); err != nil {
		w.t.Errorf("send %d bytes: %v", len(frame), err)
	}
}

// packetSockets counts the near namespace's.
func (w *wire) packetSockets() int {
	var table []byte
	must(w.t, w.near.Do(func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/packet")
		return err
	}))
	return bytes.Count(table, []byte("\n")) - 1 // but for the heading
}

// frame n to near0's address, of n%1000 bytes behind number and header.
func frame(n int) []byte {
	b := make([]byte, 14+4+n%1000)
	for i := range b {
		b[i] = byte(n + i)
	}
	copy(b, nearAddr[:])
	copy(b[6:], farAddr[:])
	b[12], b[13] = 0x88, 0xb5 // for experiments (IEEE 802)
	binary.BigEndian.PutUint32(b[14:], uint32(n))
	return b
}

func number(b []byte) int { return int(binary.BigEndian.Uint32(b[14:])) }

// tagged is b with a VLAN tag in it.
func tagged(b []byte, tpid, tci uint16) []byte {
	tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tpid), tci)
	return slices.Insert(slices.Clone(b), 12, tag...)
}

// onOneCPU runs fn on a thread that does not move: what it sends stays in order.
func onOneCPU(t testing.TB, fn func()) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		var allowed, one unix.CPUSet
		err := unix.SchedGetaffinity(0, &allowed)
		for i := 0; err == nil; i++ {
			if allowed.IsSet(i) {
				one.Set(i)
				err = unix.SchedSetaffinity(0, &one)
				break
			}
		}
		if err == nil {
			fn()
		}
		done <- err
	}()
	must(t, <-done)
}

// seen is what a reader sees of a packet.
type seen struct {
	data     string
	len, net int
	status   uint32
	tci      uint16
	tpid     uint16
	from     tpacket.SockaddrLL
	vnet     [sizeofVnet]byte
	hash     uint32
}

// sameStatus leaves out what depends on the clock and on the reader.
const sameStatus = ^uint32(tpacket.StatusTSSoftware | tpacket.StatusLosing)

func look(f *ring.Frame) seen {
	s := seen{string(f.Data), f.Len, f.Net, f.Status & sameStatus, uint16(f.VLANTCI), f.VLANTPID, f.From, [sizeofVnet]byte{}, f.Hash}
	copy(s.vnet[:], f.Headroom(sizeofVnet))
	s.from.Addr = [8]byte{}
	copy(s.from.Addr[:f.From.Halen], f.From.Addr[:]) // what is behind the address is undefined
	return s
}

func (s seen) String() string {
	return fmt.Sprintf("%d of %d bytes, status %#x, net %d, vlan %#x/%#x, from %+v, vnet % x, hash %#x: % x",
		len(s.data), s.len, s.status, s.net, s.tpid, s.tci, s.from, s.vnet, s.hash, s.data[:min(len(s.data), 60)])
}

// read reads n packets, or with n 0 until none comes for a while.
func read(t testing.TB, h *capture.Handle, n int) (all []seen) {
	t.Helper()
	limit := 20 * time.Second
	if n == 0 {
		limit = 400 * time.Millisecond
	}
	for n == 0 || len(all) < n {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		f, err := h.Next(ctx)
		cancel()
		if n == 0 && errors.Is(err, context.DeadlineExceeded) {
			return all
		}
		if err != nil {
			t.Fatalf("packet %d of %d: %v", len(all), n, err)
		}
		all = append(all, look(f))
	}
	return all
}

// same wants the same packets, in the same order.
func same(t testing.TB, got, want []seen) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("packet %d:\n%v, the kernel's own is\n%v", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d packets, the kernel's own are %d", len(got), len(want))
	}
}

func sortSeen(all []seen) {
	slices.SortFunc(all, func(a, b seen) int {
		if c := int(a.from.Pkttype) - int(b.from.Pkttype); c != 0 {
			return c
		}
		if c := strings.Compare(a.data, b.data); c != 0 {
			return c
		}
		return bytes.Compare(a.vnet[:], b.vnet[:])
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for hangs := time.Now().Add(2 * time.Minute); time.Now().Before(hangs); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(all)
}
