package rxring

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// DeviceType is a device's hardware type, sll_hatype (linux/if_arp.h).
type DeviceType uint16

const (
	Ethernet DeviceType = tpacket.ARPHRDEther // 14-byte Ethernet header
	RawIP    DeviceType = tpacket.ARPHRDNone  // no link-layer header, as a TUN device

	// Loopback devices have Ethernet headers, and what is sent through one comes
	// back in by it, as by lo.
	Loopback DeviceType = tpacket.ARPHRDLoopback

	// Devices of any other of Linux's types (ARPHRD_*) show packets as Linux's drivers
	// of the type do. What these know beside a packet's bytes is in Packet.Link.
	PPP               DeviceType = tpacket.ARPHRDPPP // libpcap opens it cooked: what it prints is in Packet.Link
	CAN               DeviceType = tpacket.ARPHRDCAN
	IEEE80211         DeviceType = tpacket.ARPHRDIEEE80211
	IEEE80211Radiotap DeviceType = tpacket.ARPHRDIEEE80211Radiotap
	IEEE802154        DeviceType = tpacket.ARPHRDIEEE802154
)

// Ethernet reports whether packets of devices of the type begin with an Ethernet header.
func (t DeviceType) Ethernet() bool { return t == Ethernet || t == Loopback }

// DeviceConfig describes a device. Only Name must be set.
type DeviceConfig struct {
	Name string     // 1 to 15 bytes, as Linux allows
	Type DeviceType // 0: Ethernet
	MTU  int        // bytes; 0: 1500, of a Loopback device 65536

	// MaxLen is the length of the longest packet that will be delivered, in bytes
	// without the link-layer header; 0: the MTU. More than the MTU means that the
	// device carries segments that a card would cut (GSO). Programs size the slots
	// of their rings by it. Deliver does not enforce it: what is longer is cut where
	// it does not fit into a slot.
	MaxLen int

	// HardwareAddr is the hardware address; zero: a locally administered one, but a Loopback
	// device's stays zero. Devices without an Ethernet header have none.
	HardwareAddr [6]byte

	// Index is the device's index (sll_ifindex), for one that stands for another
	// device and is to be known by its number; 0: the next that is free.
	Index int

	// Prefixes are the IP addresses, each with its network's prefix length, that
	// programs see when they ask for the device's. Only the device's source can
	// answer on them.
	Prefixes []netip.Prefix

	// Alias is a longer name for people (IFLA_IFALIAS), at most 255 bytes without line breaks
	// and NUL; "": none.
	Alias string
}

// maxAlias is IFALIASZ without its NUL.
const maxAlias = 255

// maxGivenIndex leaves numbers to count up to: an index is an int32.
const maxGivenIndex = 1 << 30

func (c *DeviceConfig) check() error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	if c.Type == 0 {
		c.Type = Ethernet
	}
	if err := checkMTU(c.Name, c.Type, &c.MTU, &c.MaxLen); err != nil {
		return err
	}
	if c.Type.Ethernet() && c.HardwareAddr[0]&1 != 0 {
		return explain.Errorf(syscall.EINVAL, "device %s: address % x: want a unicast one", c.Name, c.HardwareAddr)
	}
	if c.Index < 0 || c.Index > maxGivenIndex {
		return explain.Errorf(syscall.EINVAL, "device %s: index %d: want 1 to %d, or 0 for the next", c.Name, c.Index, maxGivenIndex)
	}
	if len(c.Alias) > maxAlias || strings.ContainsAny(c.Alias, "\x00\n") {
		return explain.Errorf(syscall.EINVAL, "device %s: alias %.40q: want at most %d bytes, without line breaks and NUL", c.Name, c.Alias, maxAlias)
	}
	return checkPrefixes(c.Name, c.Prefixes)
}

// Device is a named interface in a [Namespace]: writers deliver packets to it,
// and the sockets bound to it receive them. All methods may be called
// concurrently.
type Device struct {
	// taps is loaded by every Deliver: nil without attached sockets. Pairs with
	// the store in publishTapsLocked.
	taps atomic.Pointer[[]tap]

	name   string
	alias  string
	index  int
	typ    DeviceType
	addr   [6]byte
	ether  bool               // packets begin with an Ethernet header
	link   linkLayer          // of the others
	own    uint64             // addr, as addrWord has it
	bcast  uint64             // the broadcast address; a Loopback device has none
	maclen uint32             // bytes of link-layer header
	from   tpacket.SockaddrLL // what all packets' addresses have in common

	transmit  atomic.Pointer[transmitHook] // nil: none
	ready     atomic.Pointer[TransmitFunc] // nil: always
	settings  atomic.Pointer[settings]     // never nil
	ns        *Namespace
	up        atomic.Bool
	malformed atomic.Uint64
	rxFilter  atomic.Pointer[rxFilter] // never nil
	traffic   traffic

	// Namespace.mu guards these.
	refs             filterRefs
	bound            []*Socket       // open sockets that are bound to it
	members          map[*Socket]int // open sockets with memberships on it, and how many
	onInterestChange func()          // nil: none
	notifying        bool            // the function runs when Namespace.mu is unlocked
	backlog          Backlog         // nil: none
}

// etherLen is ETH_HLEN: addresses and EtherType.
const etherLen = 14

// etherAddrLen is ETH_ALEN.
const etherAddrLen = 6

func newDevice(ns *Namespace, c DeviceConfig) *Device {
	d := &Device{ns: ns, name: c.Name, alias: c.Alias, index: c.Index, typ: c.Type, addr: c.HardwareAddr}
	d.settings.Store(&settings{c.MTU, c.MaxLen, slices.Clone(c.Prefixes)})
	d.up.Store(true)
	d.rxFilter.Store(new(rxFilter))
	d.from = tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(d.index), Hatype: uint16(d.typ)}
	if d.ether = d.typ.Ethernet(); !d.ether {
		d.link = linkLayerOf(d.typ)
		d.maclen = d.link.header
	} else {
		d.maclen, d.from.Halen = etherLen, etherAddrLen
		if d.addr == [6]byte{} && d.typ != Loopback {
			d.addr = [6]byte{0x02, 'r', 'x', 'r', byte(d.index >> 8), byte(d.index)}
		}
		d.own = addrWord(append(d.addr[:], 0, 0))
		if d.typ == Ethernet {
			d.bcast = 1<<48 - 1
		}
	}
	return d
}

// Namespace is the namespace that the device is in, or was.
func (d *Device) Namespace() *Namespace { return d.ns }

// Name is the device's name.
func (d *Device) Name() string { return d.name }

// Alias returns the device's longer name; "": none.
func (d *Device) Alias() string { return d.alias }

// Index is the device's index, unique in its namespace; see
// NamespaceConfig.FirstIndex.
func (d *Device) Index() int { return d.index }

// Type is the device's hardware type.
func (d *Device) Type() DeviceType { return d.typ }

// HardwareAddr returns the hardware address, zero on a device that is not Ethernet.
func (d *Device) HardwareAddr() [6]byte { return d.addr }

// HasListeners reports whether a socket would be offered a packet now. A source that must work
// to make packets may skip the work while it is false; see OnInterestChange.
func (d *Device) HasListeners() bool { return d.taps.Load() != nil } // a hint: it orders nothing

// Malformed returns how many packets were delivered that have no whole link-layer header or,
// on a device of a type without one, no IPv4 or IPv6 header though Packet.Link does not
// describe them. Sockets on the device count them as dropped, except frames that end within
// their VLAN tag: Linux drops those uncounted.
func (d *Device) Malformed() uint64 { return d.malformed.Load() }

// Up reports whether the device is up. A new device is.
func (d *Device) Up() bool { return d.up.Load() }

// SetUp sets the device up or down (IFF_UP). Down means for a socket that is bound to the
// device and open for a protocol: no more packets, and ENETDOWN once, from Recv or SO_ERROR,
// with POLLERR until then. Once the device is up again the socket receives packets again.
// Sockets bound to all devices are not affected. On a removed device SetUp does nothing.
func (d *Device) SetUp(up bool) {
	d.ns.mu.Lock()
	defer d.ns.mu.UnlockAndNotify()
	if d.ns.devices.has(d) {
		d.ns.setUpLocked(d, up)
	}
}

// OnInterestChange sets the function that is called when what sockets want of the device may
// have changed: the results of HasListeners, Up, Promiscuous, AllMulticast, RxFilterAddrs and
// Filters.
//
// f is called before the call that caused the change returns: a Bind, for example, waits for
// f. Calls may be concurrent and out of order, so f must read the present state from the
// device. It may call methods of devices and of the namespace, but not of sockets: one is
// locked meanwhile. nil, the initial value, removes the function; a call of the one before it
// may still be running. Writers do not wait for f.
func (d *Device) OnInterestChange(f func()) {
	d.ns.mu.Lock()
	defer d.ns.mu.UnlockAndNotify()
	d.onInterestChange = f
	d.ns.mu.notifyLocked(d)
}

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
