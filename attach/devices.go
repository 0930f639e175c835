package attach

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
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

// visibleDevices returns the devices of Namespace.Devices that p may see.
func (p *peer) visibleDevices() []*rxring.Device {
	return slices.DeleteFunc(p.server.config.Namespace.Devices(), func(d *rxring.Device) bool { return !p.sees(d) })
}

func (p *peer) sees(d *rxring.Device) bool {
	see := p.currentGrant().Socket.Devices
	return see == nil || see(d)
}

// currentDevices returns the devices that p may see, with the namespace's own loopback
// device.
func (p *peer) currentDevices() []device {
	visible := p.visibleDevices()
	if lo := p.server.config.Namespace.Loopback(); lo != nil && p.sees(lo) {
		visible = append(visible, lo)
	}
	list := []device{}
	for _, d := range visible {
		list = append(list, device{d.Index(), d.Name(), d.Type(), d.MTU(), d.MaxLen(), d.HardwareAddr(), d.Prefixes(), d.Alias(), d.Up()})
	}
	return list
}

// listDevices returns the devices to send, and remembers what they were.
func (p *peer) listDevices() []device {
	list := p.currentDevices()
	if b, err := json.Marshal(list); err == nil {
		p.mu.Lock()
		p.knownDevices = hash(b)
		p.mu.Unlock()
	}
	return list
}

// notifyOfDevices sends evDevices if the devices have changed since listDevices.
func (p *peer) notifyOfDevices() {
	b, err := json.Marshal(p.currentDevices())
	if err != nil {
		return
	}
	now := hash(b)
	p.mu.Lock()
	changed := p.knownDevices != 0 && p.knownDevices != now
	if changed {
		p.knownDevices = now
	}
	p.mu.Unlock()
	if changed {
		p.events.send(evDevices, 0)
	}
}

var hashSeed = maphash.MakeSeed()

// hash is never 0.
func hash(b []byte) uint64 { return maphash.Bytes(hashSeed, b) | 1 }

// mirror makes the devices of ns, a client's namespace, those of the list.
func mirror(ns *rxring.Namespace, list []device) error {
	devices := ns.Devices()
	if lo := ns.Loopback(); lo != nil {
		devices = append(devices, lo)
	}
	for _, d := range devices {
		if !slices.ContainsFunc(list, func(o device) bool { return o.represents(d) }) {
			ns.RemoveDevice(d)
		}
	}
	for _, o := range list {
		if err := o.mirror(ns); err != nil {
			return fmt.Errorf("a device that the server sent: %w", err)
		}
	}
	return nil
}

// mirror adds the device to ns, or changes the one that is there.
func (o device) mirror(ns *rxring.Namespace) error {
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
func (o device) represents(d *rxring.Device) bool {
	return o.Index == d.Index() && o.Name == d.Name() && o.Type == d.Type() && o.Addr == d.HardwareAddr() && o.Alias == d.Alias()
}
