package rxring_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// TestSocketsReceiveFromTheirDevices changes devices, bindings, grants and fanout groups at random.
// After each change, a packet on each device must be offered to the sockets that a model, which
// keeps no lists, expects.
func TestSocketsReceiveFromTheirDevices(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 16))
		m := &tapModel{t: t, r: r, ns: rxring.NewNamespace(rxring.NamespaceConfig{})}
		for i := range 400 {
			what := m.change()
			m.check()
			if t.Failed() {
				t.Fatalf("seed %d, change %d: %s", seed, i, what)
			}
		}
	}
}

// tapModel knows what each socket is bound to.
type tapModel struct {
	t       *testing.T
	r       *rand.Rand
	ns      *rxring.Namespace
	devices []*rxring.Device
	sockets []*modelSocket
	named   int
}

type modelSocket struct {
	*rxring.Socket
	ifindex int // 0: all devices; -1: a device that is gone
	every   int // its grant allows devices whose index divided by every leaves a remainder; 0: no grant
	group   int // 0: none
	offered uint64
}

func (s *modelSocket) allows(d *rxring.Device) bool { return s.every == 0 || d.Index()%s.every != 0 }

// linked reports whether devices deliver to the socket.
func (m *tapModel) linked(s *modelSocket) bool {
	if s.ifindex == 0 {
		return true
	}
	i := slices.IndexFunc(m.devices, func(d *rxring.Device) bool { return d.Index() == s.ifindex })
	return i >= 0 && m.devices[i].Up()
}

func grantEvery(n int) *rxring.Grant {
	if n == 0 {
		return nil
	}
	return &rxring.Grant{Devices: func(d *rxring.Device) bool { return d.Index()%n != 0 }}
}

// change makes a random change and returns its name.
func (m *tapModel) change() string {
	must := func(err error) { rxtest.Must(m.t, err) }
	pick := func() *modelSocket {
		if len(m.sockets) == 0 {
			return nil
		}
		return m.sockets[m.r.IntN(len(m.sockets))]
	}
	device := func() *rxring.Device {
		if len(m.devices) == 0 {
			return nil
		}
		return m.devices[m.r.IntN(len(m.devices))]
	}
	switch n := m.r.IntN(16); {
	case n < 4:
		m.named++
		c := rxring.DeviceConfig{Name: fmt.Sprintf("net%d", m.named)}
		if m.r.IntN(3) == 0 {
			c.Index = 2 + m.r.IntN(1000)
		}
		if d, err := m.ns.AddDevice(c); err == nil {
			m.devices = append(m.devices, d)
			return fmt.Sprintf("device %d added", d.Index())
		}
	case n < 6 && len(m.devices) > 0:
		d := device()
		must(m.ns.RemoveDevice(d))
		m.devices = slices.DeleteFunc(m.devices, func(o *rxring.Device) bool { return o == d })
		for _, s := range m.sockets {
			if s.ifindex == d.Index() {
				s.ifindex = -1
			}
		}
		return fmt.Sprintf("device %d removed", d.Index())
	case n < 8 && len(m.devices) > 0:
		d := device()
		d.SetUp(!d.Up())
		return fmt.Sprintf("device %d up: %v", d.Index(), d.Up())
	case n < 10:
		every := m.r.IntN(4)
		s, err := m.ns.SocketFor(grantEvery(every), rxring.SockRaw, tpacket.ETHPAll)
		must(err)
		m.sockets = append(m.sockets, &modelSocket{Socket: s, every: every})
		return fmt.Sprintf("socket opened, grant %d", every)
	case n < 11 && len(m.sockets) > 0:
		s := pick()
		must(s.Close())
		m.sockets = slices.DeleteFunc(m.sockets, func(o *modelSocket) bool { return o == s })
		return "socket closed"
	case n < 13 && len(m.sockets) > 0 && len(m.devices) > 0:
		s, d := pick(), device()
		if s.group == 0 && s.allows(d) {
			must(s.BindDevice(d, tpacket.ETHPAll))
			s.ifindex = d.Index()
			return fmt.Sprintf("socket bound to %d", d.Index())
		}
	case n < 14 && len(m.sockets) > 0:
		s := pick()
		every := m.r.IntN(4)
		must(s.SetGrant(grantEvery(every)))
		if s.every = every; every != 0 && s.ifindex > 0 && s.ifindex%every == 0 {
			s.ifindex = -1
		}
		return fmt.Sprintf("grant %d", every)
	case n < 15 && len(m.sockets) > 0:
		s, group := pick(), 1+m.r.IntN(3)
		if s.group == 0 && s.ifindex >= 0 && s.JoinFanout(rxring.FanoutConfig{ID: uint16(group)}) == nil {
			s.group = group
			return fmt.Sprintf("joined group %d", group)
		}
	}
	return "nothing"
}

// check delivers a packet on each device.
func (m *tapModel) check() {
	slices.SortFunc(m.devices, func(a, b *rxring.Device) int { return a.Index() - b.Index() })
	if got := m.ns.Devices(); !slices.Equal(got, m.devices) {
		m.t.Errorf("%d devices are listed, or not by index; want %d", len(got), len(m.devices))
	}
	for _, d := range m.devices {
		d.Deliver(&rxring.Packet{Data: make([]byte, 60)})
		want, got := make(map[int]uint64), make(map[int]uint64) // by group
		allowed := make(map[int]bool)
		for i, s := range m.sockets {
			total := s.Totals().Offered()
			offered := total - s.offered
			s.offered = total
			binding := m.linked(s) && d.Up() && (s.ifindex == 0 || s.ifindex == d.Index())
			if s.group == 0 {
				if expected := binding && s.allows(d); offered != map[bool]uint64{true: 1}[expected] {
					m.t.Errorf("device %d, socket %d (bound to %d): offered %d packets; want one: %v", d.Index(), i, s.ifindex, offered, expected)
				}
				continue
			}
			got[s.group] += offered
			if binding {
				if _, ok := allowed[s.group]; !ok {
					allowed[s.group] = true
				}
				allowed[s.group] = allowed[s.group] && s.allows(d)
			}
		}
		for group, ok := range allowed {
			if ok {
				want[group] = 1
			}
		}
		for group := range 4 {
			if got[group] != want[group] {
				m.t.Errorf("device %d, group %d: offered %d packets; want %d", d.Index(), group, got[group], want[group])
			}
		}
	}
}

// TestChangesAllocateTheSameWithManyDevices: the devices share their lists of sockets.
func TestChangesAllocateTheSameWithManyDevices(t *testing.T) {
	allocs := func(n int, grant *rxring.Grant, change func(*rxring.Namespace)) float64 {
		ns := manyDevices(t, n)
		for range 20 {
			s, err := ns.SocketFor(grant, rxring.SockRaw, tpacket.ETHPAll)
			rxtest.Must(t, err)
			defer s.Close()
		}
		return testing.AllocsPerRun(10, func() { change(ns) })
	}
	for what, change := range map[string]func(*rxring.Namespace){
		"a device is added and removed": func(ns *rxring.Namespace) { addRemove(t, ns) },
		"a socket is bound to all":      func(ns *rxring.Namespace) { bindClose(t, ns, 0) },
		"a socket is bound to a device": func(ns *rxring.Namespace) { bindClose(t, ns, 5) },
	} {
		for _, every := range []int{0, 7} {
			few, many := allocs(20, grantEvery(every), change), allocs(2000, grantEvery(every), change)
			if many > few+2 { // a map may grow
				t.Errorf("%s, grant %d: %v allocations with 20 devices, %v with 2000", what, every, few, many)
			}
		}
	}
}

// BenchmarkManyDevices measures what changes in a namespace with many devices cost.
func BenchmarkManyDevices(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			b.Run("add-remove", func(b *testing.B) { benchAddRemove(b, manyDevices(b, n)) })
			b.Run("bind", func(b *testing.B) {
				ns := manyDevices(b, n)
				benchBind(b, ns, ns.Devices()[n/2].Index())
			})
			b.Run("bind-any", func(b *testing.B) { benchBind(b, manyDevices(b, n), 0) })
			b.Run("find", func(b *testing.B) {
				ns := manyDevices(b, n)
				name := ns.Devices()[n/2].Name()
				for b.Loop() {
					if _, ok := ns.DeviceByName(name); !ok {
						b.Fatal(name, "is gone")
					}
				}
			})
			b.Run("list", func(b *testing.B) {
				ns := manyDevices(b, n)
				for b.Loop() {
					if len(ns.Devices()) != n {
						b.Fatal("devices are missing")
					}
				}
			})
			b.Run("any-readers=1000/add-remove", func(b *testing.B) {
				ns := manyDevices(b, n)
				manyReaders(b, ns, nil)
				benchAddRemove(b, ns)
			})
			b.Run("any-readers=1000/bind-any", func(b *testing.B) {
				ns := manyDevices(b, n)
				manyReaders(b, ns, nil)
				benchBind(b, ns, 0)
			})
			b.Run("granted-readers=1000/add-remove", func(b *testing.B) {
				ns := manyDevices(b, n)
				manyReaders(b, ns, grantEvery(10))
				benchAddRemove(b, ns)
			})
			b.Run("granted-readers=1000/bind-any", func(b *testing.B) {
				ns := manyDevices(b, n)
				manyReaders(b, ns, grantEvery(10))
				benchBind(b, ns, 0)
			})
		})
	}
}

func manyDevices(t testing.TB, n int) *rxring.Namespace {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	for i := range n {
		rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: fmt.Sprintf("vpn%d", i)})
	}
	return ns
}

// manyReaders opens 1000 sockets under a grant that are bound to all devices.
func manyReaders(b *testing.B, ns *rxring.Namespace, g *rxring.Grant) {
	for range 1000 {
		s, err := ns.SocketFor(g, rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(b, err)
		b.Cleanup(func() { s.Close() })
	}
}

func benchAddRemove(b *testing.B, ns *rxring.Namespace) {
	b.ReportAllocs()
	for b.Loop() {
		addRemove(b, ns)
	}
}

func addRemove(t testing.TB, ns *rxring.Namespace) {
	d, err := ns.AddDevice(rxring.DeviceConfig{Name: "new0"})
	rxtest.Must(t, err)
	rxtest.Must(t, ns.RemoveDevice(d))
}

func benchBind(b *testing.B, ns *rxring.Namespace, ifindex int) {
	b.ReportAllocs()
	for b.Loop() {
		bindClose(b, ns, ifindex)
	}
}

// bindClose opens a socket, binds it to a device (0: all) and closes it.
func bindClose(t testing.TB, ns *rxring.Namespace, ifindex int) {
	s, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	rxtest.Must(t, s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(ifindex), Protocol: tpacket.Htons(tpacket.ETHPAll)}))
	rxtest.Must(t, s.Close())
}
