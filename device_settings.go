package rxring

import (
	"net/netip"
	"slices"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// settings are what can be changed of a device. They are immutable: a change publishes new
// ones, and each Load pairs with the one in changeSettings or newDevice.
type settings struct {
	mtu      int
	maxLen   int
	prefixes []netip.Prefix
}

// MTU returns the length in bytes of the longest packet, without the link-layer header, that
// the device's link carries. Deliver does not enforce it: large segments (GSO) are longer.
func (d *Device) MTU() int { return d.settings.Load().mtu }

// MaxLen returns the length in bytes of the longest packet, without the link-layer header,
// that will be delivered: at least the MTU.
func (d *Device) MaxLen() int { return d.settings.Load().maxLen }

// Segments reports whether the device carries segments longer than its MTU (GSO),
// as its MaxLen says.
func (d *Device) Segments() bool {
	s := d.settings.Load()
	return s.maxLen > s.mtu
}

// Prefixes returns the device's IP addresses with their networks' prefix lengths.
func (d *Device) Prefixes() []netip.Prefix { return slices.Clone(d.settings.Load().prefixes) }

// SetMTU changes the MTU and the MaxLen, which [DeviceConfig] describes; 0 means the
// default, as there. Programs that subscribe to rtnetlink are notified, also those of other
// processes (package attach). Rings keep their slots: a packet that is longer than those is
// truncated, as in Linux. EINVAL for lengths that AddDevice refuses; the old ones stay then.
func (d *Device) SetMTU(mtu, maxLen int) error {
	if err := checkMTU(d.name, d.typ, &mtu, &maxLen); err != nil {
		return err
	}
	d.changeSettings(func(s *settings) { s.mtu, s.maxLen = mtu, maxLen })
	return nil
}

// SetPrefixes replaces the device's IP addresses. Programs that subscribe to rtnetlink are
// notified of those that were added and removed. EINVAL for addresses that AddDevice refuses;
// the old ones stay then.
func (d *Device) SetPrefixes(prefixes []netip.Prefix) error {
	if err := checkPrefixes(d.name, prefixes); err != nil {
		return err
	}
	prefixes = slices.Clone(prefixes)
	d.changeSettings(func(s *settings) { s.prefixes = prefixes })
	return nil
}

func (d *Device) changeSettings(change func(*settings)) {
	d.ns.mu.Lock()
	defer d.ns.mu.UnlockAndNotify()
	s := *d.settings.Load()
	change(&s)
	d.settings.Store(&s)
	d.ns.changes.Add(1)
}

// maxGSO is Linux's GSO_MAX_SIZE (linux/netdevice.h), in bytes.
const maxGSO = 8 << 16

// Default MTUs, in bytes.
const (
	defaultMTU  = 1500    // ETH_DATA_LEN
	loopbackMTU = 1 << 16 // lo's (drivers/net/loopback.c)
)

// checkMTU validates lengths of a device, and replaces those that are 0 by their defaults.
func checkMTU(name string, t DeviceType, mtu, maxLen *int) error {
	minMTU := 68 // ETH_MIN_MTU
	switch t {
	case Ethernet, RawIP, Loopback:
	default:
		minMTU = 1 // a CAN device's is 16
	}
	if *mtu == 0 {
		*mtu = defaultMTU
		if t == Loopback {
			*mtu = loopbackMTU
		}
	}
	if *mtu < minMTU || *mtu > maxGSO {
		return explain.Errorf(syscall.EINVAL, "device %s: MTU %d: want %d to %d bytes", name, *mtu, minMTU, maxGSO)
	}
	if *maxLen == 0 {
		*maxLen = *mtu
	}
	if *maxLen < *mtu || *maxLen > maxGSO {
		return explain.Errorf(syscall.EINVAL, "device %s: MaxLen %d: want %d (the MTU) to %d bytes, or 0 for the MTU", name, *maxLen, *mtu, maxGSO)
	}
	return nil
}

// checkPrefixes validates a device's addresses.
func checkPrefixes(name string, prefixes []netip.Prefix) error {
	for i, a := range prefixes {
		ip := a.Addr()
		if !a.IsValid() || ip.Is4In6() || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() || slices.Contains(prefixes[:i], a) {
			return explain.Errorf(syscall.EINVAL, "device %s: address %v: want a unicast IPv4 or IPv6 address without a zone, once, and a prefix length", name, a)
		}
	}
	return nil
}
