package hostile

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/need"
)

// wire is a veth pair between two namespaces of the test's own: the sender sends into one
// end, and the daemon captures at the other.
type wire struct {
	near, far *kring.Namespace
	socket    int // sends on the near end
}

const (
	senderName = "sender0"
	deviceName = "wire0" // the daemon's

	threadNetns = "/proc/thread-self/ns/net"
)

func newWire(t testing.TB) *wire {
	t.Helper()
	w := &wire{socket: -1}
	t.Cleanup(w.close)
	for _, ns := range []**kring.Namespace{&w.near, &w.far} {
		var err error
		if *ns, err = kring.New(); err != nil {
			need.Skip(t, need.Kernel, "no network namespace: %v", err)
		}
	}
	var far *os.File
	must(t, w.far.Do(func() (err error) {
		far, err = os.Open(threadNetns)
		return err
	}))
	defer far.Close()
	must(t, w.near.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = senderName, addresses[6:]
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: deviceName, PeerNamespace: netlink.NsFd(int(far.Fd()))})
	}))
	must(t, w.near.Do(func() error { return setUp(senderName) }))
	must(t, w.far.Do(func() error { return setUp(deviceName) }))
	must(t, w.near.Do(w.open))
	return w
}

func setUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetARPOff(l); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// open opens the sender's socket, once the far end is up: until then the kernel drops
// what is sent.
func (w *wire) open() error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		l, err := netlink.LinkByName(senderName)
		if err != nil {
			return err
		}
		if l.Attrs().OperState == netlink.OperUp {
			if w.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			return unix.Bind(w.socket, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index})
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s has no carrier", senderName)
		}
	}
}

// lost is how many packets the pair had no room for: the far end's backlog was full
// (net.core.netdev_max_backlog), and no packet socket saw them.
func (w *wire) lost() (n uint64, err error) {
	err = w.near.Do(func() error {
		l, err := netlink.LinkByName(senderName)
		if err == nil {
			n = l.Attrs().Statistics.TxDropped
		}
		return err
	})
	return n, err
}

func (w *wire) close() {
	if w.socket >= 0 {
		unix.Close(w.socket)
	}
	for _, ns := range []*kring.Namespace{w.near, w.far} {
		if ns != nil {
			ns.Close()
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
