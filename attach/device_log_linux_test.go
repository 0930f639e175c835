package attach

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
)

// TestClientsFollowDevices changes devices at random. Whenever a client asks for the changes, it
// has the devices that its grant allows, and no others.
func TestClientsFollowDevices(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	every := map[uint64]int{1: 0, 2: 2} // by peer: it sees devices whose index is no multiple; 0: all
	seesUnder := func(n int, d *rxring.Device) bool { return n == 0 || d.Index()%n != 0 }
	server := serveDevices(t, ns, func(p Peer) (g Grant, err error) {
		if n := every[p.ID]; n != 0 {
			g.Socket.Devices = func(d *rxring.Device) bool { return seesUnder(n, d) }
		}
		return g, nil
	})
	clients := []*Client{dialServer(t, server), dialServer(t, server)}
	r := rand.New(rand.NewPCG(16, 7))
	for i := range 3 * minChanges {
		devices := ns.Devices()
		var d *rxring.Device
		if len(devices) > 0 {
			d = devices[r.IntN(len(devices))]
		}
		switch n := r.IntN(100); {
		case d == nil || n < 40:
			ns.AddDevice(rxring.DeviceConfig{Name: fmt.Sprintf("net%d", r.IntN(50)), Index: r.IntN(2) * r.IntN(60)}) // may be taken
		case n < 75:
			rxtest.Must(t, ns.RemoveDevice(d))
		case n < 85:
			rxtest.Must(t, d.SetMTU(1000+r.IntN(10), 0))
		case n < 95:
			d.SetUp(!d.Up())
		case n == 95:
			every[2] = 2 + r.IntN(3)
			server.Regrant()
		}
		for j, c := range clients {
			if r.IntN(20) > j*19 { // one asks often, and the other so rarely that the log has been cut
				continue
			}
			if j == 1 && i%(minChanges+200) != 0 {
				continue
			}
			rxtest.Must(t, c.followDevices())
			var want []device
			for _, d := range allDevices(ns) {
				if seesUnder(every[uint64(j+1)], d) {
					want = append(want, *newDevice(d))
				}
			}
			var got []device
			for _, d := range allDevices(c.Namespace()) {
				got = append(got, *newDevice(d))
			}
			if !slices.EqualFunc(got, want, func(a, b device) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
				t.Fatalf("change %d, client %d:\n%v\nwant\n%v", i, j, got, want)
			}
		}
	}
}

// TestChangedDevicesAreSentAlone: a list of what has changed does not grow with the number of
// devices, and says nothing of hidden ones.
func TestChangedDevicesAreSentAlone(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	hidden := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "hidden0"})
	p := &peer{server: &Server{config: Config{Namespace: ns}, devices: newDeviceLog(ns)}}
	p.grant.Socket.Devices = func(d *rxring.Device) bool { return d != hidden }
	for i := range 100 {
		rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: fmt.Sprintf("net%d", i)})
	}
	if l := p.listDevices(false); !l.All || len(l.Devices) != 101 || len(l.Removed) != 0 {
		t.Fatalf("the first list: %v, %d devices, %v", l.All, len(l.Devices), l.Removed)
	}
	net7, _ := ns.DeviceByName("net7")
	net8, _ := ns.DeviceByName("net8")
	net7.SetUp(false)
	rxtest.Must(t, ns.RemoveDevice(net8))
	hidden.SetUp(false)
	rxtest.Must(t, ns.RemoveDevice(hidden))
	l := p.listDevices(false)
	if l.All || len(l.Devices) != 1 || l.Devices[0].Name != "net7" || l.Devices[0].Up || !slices.Equal(l.Removed, []int{net8.Index()}) {
		t.Errorf("the second list: %+v", l)
	}
	if l := p.listDevices(false); l.All || len(l.Devices)+len(l.Removed) != 0 {
		t.Errorf("nothing has changed: %+v", l)
	}
	if l := p.listDevices(true); !l.All || len(l.Devices) != 100 {
		t.Errorf("all are asked for: %d devices", len(l.Devices))
	}
}

// BenchmarkManyDevices measures how a client with many devices attaches, and follows a change.
func BenchmarkManyDevices(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			for i := range n {
				rxtest.AddDevice(b, ns, rxring.DeviceConfig{Name: fmt.Sprintf("vpn%d", i)})
			}
			server := serveDevices(b, ns, func(Peer) (Grant, error) { return Grant{}, nil })
			b.Run("attach", func(b *testing.B) {
				for b.Loop() {
					c, err := Dial(b.Context(), server.Addr())
					rxtest.Must(b, err)
					c.Close()
				}
			})
			b.Run("status", func(b *testing.B) {
				c := dialServer(b, server)
				for b.Loop() {
					_, err := c.Status()
					rxtest.Must(b, err)
				}
			})
			b.Run("change", func(b *testing.B) {
				c := dialServer(b, server)
				d := ns.Devices()[n/2]
				for b.Loop() {
					d.SetUp(!d.Up())
					rxtest.Must(b, c.followDevices())
				}
			})
		})
	}
}

func serveDevices(t testing.TB, ns *rxring.Namespace, grant func(Peer) (Grant, error)) *Server {
	s, err := Listen(filepath.Join(t.TempDir(), "socket"), Config{Namespace: ns, Grant: grant})
	rxtest.Must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func dialServer(t testing.TB, s *Server) *Client {
	c, err := Dial(t.Context(), s.Addr())
	rxtest.Must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}
