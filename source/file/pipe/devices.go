package pipe

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/delivery"
)

// maxSnapLen is a snapshot length above which packets may have any length: tcpdump's 262144
// means no limit.
const maxSnapLen = math.MaxUint16

// defaultBase is the base of the names net0, net1 and so on.
const defaultBase = "net"

// check returns an error unless a device can show packets of the stream.
func (s *Stream) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.interfaces) == 0 {
		return errors.New("the stream ended before it described an interface: its program captured nothing, or did not write before it ended")
	}
	if slices.ContainsFunc(s.interfaces, func(in described) bool { return in.err == nil }) {
		return nil
	}
	return leftOut(s.interfaces[0])
}

func leftOut(in described) error {
	what := "its interface"
	if in.name != "" {
		what = fmt.Sprintf("interface %q", in.name)
	}
	return fmt.Errorf("%s has packets of %w", what, in.err)
}

// Add adds a device to c.Namespace for each interface that the stream has described so far.
// Nothing is delivered before [Source.Start]. A device has its interface's name if a device can
// have it and it is unique in the stream; the others are net0, net1 and so on. It may be called again, with
// another namespace, as long as no source was started.
func (s *Stream) Add(c Config) (*Source, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := 0
	for _, in := range s.interfaces {
		if in.err == nil {
			shown++
		}
	}
	if (c.Name != "" || c.Prefix.IsValid()) && shown != 1 {
		return nil, fmt.Errorf("the stream has packets of %d interfaces: want it without a name and an address", shown)
	}
	src := &Source{s: s, cfg: c}
	for _, in := range s.interfaces {
		if in.err != nil {
			src.addLocked(nil)
			src.leftOut = append(src.leftOut, fmt.Errorf("%w: they are left out", leftOut(in)))
			continue
		}
		d := configOf(in)
		d.Name = cmp.Or(c.Name, src.nameOf(in))
		if c.Prefix.IsValid() {
			d.Prefixes = []netip.Prefix{c.Prefix}
		}
		dev, err := c.Namespace.AddDevice(d)
		if err != nil {
			return nil, errors.Join(err, src.removeDevices())
		}
		src.addLocked(dev)
	}
	return src, nil
}

// configOf describes a device without its name. The lengths of packets are not known; a snapshot
// length bounds them.
func configOf(in described) rxring.DeviceConfig {
	d := rxring.DeviceConfig{Type: in.link.Device, MTU: delivery.DefaultMTU, MaxLen: math.MaxUint16}
	if in.snapLen > 0 && in.snapLen < maxSnapLen {
		d.MaxLen = int(in.snapLen)
		if d.Type.Ethernet() {
			d.MaxLen -= etherLen
		}
		d.MaxLen = max(d.MaxLen, d.MTU)
	}
	return d
}

// etherLen is the length of an Ethernet header in bytes.
const etherLen = 14

// nameOf returns the name of a device among those that the source has.
func (src *Source) nameOf(in described) string {
	taken := func(name string) bool {
		return slices.ContainsFunc(src.devices, func(d *rxring.Device) bool { return d != nil && d.Name() == name })
	}
	if delivery.IsName(in.name) && !taken(in.name) {
		return in.name
	}
	for n := 0; ; n++ {
		if name := defaultBase + strconv.Itoa(n); !taken(name) {
			return name
		}
	}
}

// addMissingLocked adds devices for the interfaces that have none yet. One whose name is taken
// in the namespace gets another.
func (src *Source) addMissingLocked() {
	for _, in := range src.s.interfaces[len(src.devices):] {
		dev, err := src.addLate(in)
		if err != nil {
			src.failed(err)
		}
		src.addLocked(dev)
	}
}

func (src *Source) addLate(in described) (*rxring.Device, error) {
	if in.err != nil {
		return nil, fmt.Errorf("%w: they are left out", leftOut(in))
	}
	ns := src.cfg.Namespace
	d := configOf(in)
	d.Name = in.name
	_, taken := ns.DeviceByName(d.Name)
	for n := 0; taken || !delivery.IsName(d.Name); n++ {
		d.Name = defaultBase + strconv.Itoa(n)
		_, taken = ns.DeviceByName(d.Name)
	}
	dev, err := ns.AddDevice(d)
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w: its packets are left out", in.name, err)
	}
	return dev, nil
}

func (src *Source) removeDevices() error {
	var errs []error
	for _, d := range src.devices {
		if d != nil {
			errs = append(errs, d.Namespace().RemoveDevice(d))
		}
	}
	return errors.Join(errs...)
}
