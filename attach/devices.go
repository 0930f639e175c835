package attach

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/rxring/rxring"
)

// device is a device as a client is told of it.
type device struct {
	Index  int               `json:"index"`
	Name   string            `json:"name"`
	Type   rxring.DeviceType `json:"type"`
	MTU    int               `json:"mtu"`
	MaxLen int               `json:"maxlen"`
	Addr   [6]byte           `json:"addr"`
	Addrs  []netip.Prefix    `json:"addrs,omitempty"`
	Up     bool              `json:"up"`
}

// visible lists the devices that p sees, as Namespace.Devices does.
func (p *peer) visible() []*rxring.Device {
	return slices.DeleteFunc(p.server.config.Namespace.Devices(), func(d *rxring.Device) bool { return !p.sees(d) })
}

func (p *peer) sees(d *rxring.Device) bool {
	see := p.granted().Socket.Devices
	return see == nil || see(d)
}

// devicesNow is what the peer is told of: the devices that it sees, and the
// namespace's own loopback device if it sees that, too.
func (p *peer) devicesNow() []device {
	devices := p.visible()
	if lo := p.server.config.Namespace.Loopback(); lo != nil && p.sees(lo) {
		devices = append(devices, lo)
	}
	all := []device{}
	for _, d := range devices {
		all = append(all, device{d.Index(), d.Name(), d.Type(), d.MTU(), d.MaxLen(), d.HardwareAddr(), d.Prefixes(), d.Up()})
	}
	return all
}

// lookForDevices tells the peer when its devices are others than it was told of
// last.
func (p *peer) lookForDevices() {
	b, err := json.Marshal(p.devicesNow())
	if err != nil {
		return // a device of this process's own that has no words: its name is checked
	}
	now := hash(b)
	p.mu.Lock()
	changed := p.known != 0 && p.known != now
	if changed {
		p.known = now
	}
	p.mu.Unlock()
	if changed {
		p.events.tell(evDevices, 0)
	}
}

var hashSeed = maphash.MakeSeed()

// hash is not 0.
func hash(b []byte) uint64 { return maphash.Bytes(hashSeed, b) | 1 }

// handOutDevices makes the list for opDevices.
func (p *peer) handOutDevices() any {
	now := p.devicesNow()
	if b, err := json.Marshal(now); err == nil {
		p.mu.Lock()
		p.known = hash(b)
		p.mu.Unlock()
	}
	return now
}

// mirror makes ns's devices those of the list: what a client shows of another
// process's namespace.
func mirror(ns *rxring.Namespace, list []device) error {
	devices := ns.Devices()
	if lo := ns.Loopback(); lo != nil {
		devices = append(devices, lo)
	}
	for _, d := range devices {
		if !slices.ContainsFunc(list, func(o device) bool { return o.is(d) }) {
			ns.RemoveDevice(d)
		}
	}
	for _, o := range list {
		d, ok := ns.DeviceByIndex(o.Index)
		if !ok {
			var err error
			d, err = ns.AddDevice(rxring.DeviceConfig{Index: o.Index, Name: o.Name, Type: o.Type, MTU: o.MTU, MaxLen: o.MaxLen, HardwareAddr: o.Addr, Prefixes: o.Addrs})
			if err != nil {
				return fmt.Errorf("attach: a device of the other end's: %w", err)
			}
		}
		d.SetUp(o.Up)
	}
	return nil
}

// is says whether d is o, but for whether it is up.
func (o device) is(d *rxring.Device) bool {
	return o.Index == d.Index() && o.Name == d.Name() && o.Type == d.Type() && o.MTU == d.MTU() &&
		o.MaxLen == d.MaxLen() && o.Addr == d.HardwareAddr() && slices.Equal(o.Addrs, d.Prefixes())
}
