package attach

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/rxring/rxring"
)

// device is a device as the server sends it to a client.
type device struct {
	Index  int               `json:"index"`
	Name   string            `json:"name"`
	Type   rxring.DeviceType `json:"type"`
	MTU    int               `json:"mtu"`
	MaxLen int               `json:"maxlen"`
	Addr   [6]byte           `json:"addr"`
	Addrs  []netip.Prefix    `json:"addrs,omitempty"`
	Alias  string            `json:"alias,omitempty"`
	Up     bool              `json:"up"`
}

// newDevice returns d as it is now.
func newDevice(d *rxring.Device) *device {
	return &device{d.Index(), d.Name(), d.Type(), d.MTU(), d.MaxLen(), d.HardwareAddr(), d.Prefixes(), d.Alias(), d.Up()}
}

// allDevices lists a namespace's devices, with its own loopback device.
func allDevices(ns *rxring.Namespace) []*rxring.Device {
	devices := ns.Devices()
	if lo := ns.Loopback(); lo != nil {
		devices = append(devices, lo)
	}
	return devices
}

// deviceList is the answer to opDevices: all devices, or what has changed since the one before.
type deviceList struct {
	All     bool      `json:"all,omitempty"`
	Removed []int     `json:"removed,omitempty"` // indexes; before Devices are added
	Devices []*device `json:"devices"`
}

// visibleDevices returns the devices of Namespace.Devices that p may see.
func (p *peer) visibleDevices() []*rxring.Device {
	return slices.DeleteFunc(p.server.config.Namespace.Devices(), func(d *rxring.Device) bool { return !p.sees(d) })
}

func (p *peer) sees(d *rxring.Device) bool { return p.currentGrant().sees(d) }

func (g Grant) sees(d *rxring.Device) bool { return g.Socket.Devices == nil || g.Socket.Devices(d) }

// listDevices returns the devices to send: all, or what has changed since the last call.
func (p *peer) listDevices(all bool) (list deviceList) {
	p.mu.Lock()
	grant, from := p.grant, p.listedUntil
	if all || p.grantChanged {
		from = 0
	}
	changes, until, complete := p.server.devices.since(from)
	p.listedUntil, p.grantChanged = until, false
	p.mu.Unlock()
	list.All = complete
	for _, c := range changes {
		switch {
		case !grant.sees(c.dev):
		case c.now == nil:
			list.Removed = append(list.Removed, c.dev.Index())
		default:
			list.Devices = append(list.Devices, c.now)
		}
	}
	return list
}

// notifyOfDevices sends evDevices to the peers whose devices have changed since the last call.
func (s *Server) notifyOfDevices() {
	changes, until, _ := s.devices.since(s.notifiedUntil)
	if s.notifiedUntil = until; len(changes) == 0 {
		return
	}
	for _, p := range s.listPeers() {
		p.mu.Lock()
		grant, listed := p.grant, p.listedUntil
		p.mu.Unlock()
		if listed != 0 && listed < until && slices.ContainsFunc(changes, func(c deviceChange) bool { return grant.sees(c.dev) }) {
			p.events.send(evDevices, 0, 0)
		}
	}
}

// setGrant replaces the peer's grant, and sends evDevices if it changes which devices the peer
// sees.
func (p *peer) setGrant(g Grant) {
	p.mu.Lock()
	old := p.grant
	p.grant = g
	for _, s := range p.sockets {
		s.SetGrant(&g.Socket) // on an error, too, the socket has lost what g forbids
	}
	p.mu.Unlock()
	differs := func(d *rxring.Device) bool { return old.sees(d) != g.sees(d) }
	if old.Socket.Devices == nil && g.Socket.Devices == nil || !slices.ContainsFunc(allDevices(p.server.config.Namespace), differs) {
		return
	}
	p.mu.Lock()
	p.grantChanged = true
	p.mu.Unlock()
	p.events.send(evDevices, 0, 0)
}

// show makes the devices of ns, a client's namespace, those of the list.
func (l *deviceList) show(ns *rxring.Namespace) error {
	listed := make(map[int]*device)
	for _, o := range l.Devices {
		if o == nil {
			return errMessage
		}
		listed[o.Index] = o
	}
	old := allDevices(ns)
	if !l.All {
		old = old[:0]
		for _, index := range append(slices.Collect(maps.Keys(listed)), l.Removed...) {
			if d, ok := ns.DeviceByIndex(index); ok {
				old = append(old, d)
			}
		}
	}
	for _, d := range old {
		if o, ok := listed[d.Index()]; !ok || !o.represents(d) {
			ns.RemoveDevice(d)
		}
	}
	for _, o := range l.Devices {
		if err := o.mirror(ns); err != nil {
			return fmt.Errorf("a device that the server sent: %w", err)
		}
	}
	return nil
}

// mirror adds the device to ns, or changes the one that is there.
func (o *device) mirror(ns *rxring.Namespace) error {
	d, ok := ns.DeviceByIndex(o.Index)
	if !ok {
		var err error
		d, err = ns.AddDevice(rxring.DeviceConfig{Index: o.Index, Name: o.Name, Type: o.Type, MTU: o.MTU, MaxLen: o.MaxLen, HardwareAddr: o.Addr, Prefixes: o.Addrs, Alias: o.Alias})
		if err != nil {
			return err
		}
	} else if err := errors.Join(d.SetMTU(o.MTU, o.MaxLen), d.SetPrefixes(o.Addrs)); err != nil {
		return err
	}
	d.SetUp(o.Up)
	return nil
}

// represents reports whether d is the device o, whose settings may have changed.
func (o *device) represents(d *rxring.Device) bool {
	return o.Index == d.Index() && o.Name == d.Name() && o.Type == d.Type() && o.Addr == d.HardwareAddr() && o.Alias == d.Alias()
}

// describes reports whether d, the device that o was made of, is still like that.
func (o *device) describes(d *rxring.Device) bool {
	return o.MTU == d.MTU() && o.MaxLen == d.MaxLen() && o.Up == d.Up() && slices.Equal(o.Addrs, d.Prefixes())
}
