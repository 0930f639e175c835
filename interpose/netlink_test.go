//go:build linux && (amd64 || arm64)

package interpose

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
)

// links is the test binary, executed again as a program that asks for devices as container
// tools do, with a netlink library.
func links() error {
	all, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range all {
		a := l.Attrs()
		fmt.Println("link:", a.Index, a.Name, a.MTU, a.HardwareAddr, l.Type())
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			fmt.Println("addr:", a.Name, addr.IPNet)
		}
	}
	for _, name := range []string{"net0", "eth0", "lo"} {
		_, err := netlink.LinkByName(name)
		fmt.Println("find:", name, err == nil, errors.As(err, &netlink.LinkNotFoundError{}))
	}
	fmt.Println("down:", errors.Is(netlink.LinkSetDown(all[0]), unix.EPERM))
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	fmt.Println("routes:", len(routes))

	done := make(chan struct{})
	defer close(done)
	updates := make(chan netlink.LinkUpdate)
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		return err
	}
	addresses := make(chan netlink.AddrUpdate)
	if err := netlink.AddrSubscribe(addresses, done); err != nil {
		return err
	}
	fmt.Println("ready")
	for n := range 5 {
		if n == 2 {
			fmt.Println("next")
		}
		select {
		case u := <-updates:
			fmt.Println("new link:", u.Attrs().Name, u.Attrs().MTU)
		case u := <-addresses:
			fmt.Println("new addr:", u.LinkAddress.String(), u.NewAddr)
		case <-time.After(bound):
			return errors.New("nothing new")
		}
	}
	return nil
}

// A program with a netlink library sees only the namespace's devices, may change nothing, and
// is notified of a device that is added, or changes, while it runs.
func TestNetlinkLibrarySeesOnlyOurDevices(t *testing.T) {
	need.Time(t, "it runs a Python library")
	needStory(t) // makes the directory
	bin, err := testBinary()
	if err != nil {
		t.Fatal(err)
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	add := func(c rxring.DeviceConfig) *rxring.Device {
		d, err := ns.AddDevice(c)
		if err != nil {
			t.Error(err)
		}
		return d
	}
	net1 := netip.MustParsePrefix("192.0.2.1/24")
	add(rxring.DeviceConfig{Name: "net0", Prefixes: []netip.Prefix{net1, netip.MustParsePrefix("2001:db8::1/64")}})
	wg0 := add(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP, MTU: 1420, Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/32")}})
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	o := runContext(t, ctx, Config{
		Namespace: ns,
		Args:      []string{bin},
		Env:       append(os.Environ(), "RXRING_TEST_INSTEAD=links"),
	}, func(line string) {
		switch line {
		case "ready":
			add(rxring.DeviceConfig{Name: "late0", Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}})
		case "next":
			if err := errors.Join(wg0.SetMTU(1280, 0), wg0.SetPrefixes([]netip.Prefix{netip.MustParsePrefix("203.0.113.2/32")})); err != nil {
				t.Error(err)
			}
		}
	}).ok(t)
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	want := []string{
		"link: 1 lo 65536  device", "addr: lo 127.0.0.1/8", "addr: lo ::1/128",
		"link: 2 net0 1500 02:72:78:72:00:02 tuntap", "addr: net0 192.0.2.1/24", "addr: net0 2001:db8::1/64",
		"link: 3 wg0 1420  tuntap", "addr: wg0 203.0.113.1/32",
		"find: net0 true false", "find: eth0 false true", "find: lo true false",
		"down: true", "routes: 2", "ready",
	}
	news := []string{"new link: late0 1500", "new addr: 198.51.100.7/32 true", "next", "new link: wg0 1280", "new addr: 203.0.113.1/32 false", "new addr: 203.0.113.2/32 true"}
	n := len(want)
	if len(lines) != n+len(news) || !slices.Equal(lines[:n], want) {
		t.Fatalf("%s", o.stdout)
	}
	slices.Sort(news) // links and addresses are different sockets
	if got := slices.Sorted(slices.Values(lines[n:])); !slices.Equal(got, news) {
		t.Errorf("%s\nwant news %q", o.stdout, news)
	}
}

// While this process starts others, those hold copies of all its descriptors for a moment:
// they must not count as a socket that the program has not closed.
func TestPortsAreFreeWhileProcessesStart(t *testing.T) {
	need.Time(t, "it starts processes for seconds")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				exec.Command("true").Run()
			}
		}
	})
	newWorld(t, here).tell(t, "netlink", "quiet0").ok(t)
	close(stop)
	wg.Wait()
}
