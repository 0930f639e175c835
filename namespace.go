package rxring

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// DefaultMaxMemory limits a namespace's ring memory, in bytes, if its configuration does not.
const DefaultMaxMemory = 1 << 30

// NamespaceConfig configures a namespace. The zero value works.
type NamespaceConfig struct {
	// MaxMemory limits the ring memory of all sockets together, in bytes; 0:
	// DefaultMaxMemory. A ring beyond it is refused with ENOMEM.
	MaxMemory int64

	// Reserved is the part of MaxMemory kept for sockets whose budgets have a share of
	// it: see [NewBudgetWithReserve].
	Reserved int64

	// FirstIndex is the first device's index (sll_ifindex), and those after it
	// count up; 0 means 2.
	FirstIndex int
}

// Namespace is a set of devices and the sockets on them, like a network
// namespace of Linux. It begins with a loopback device, see Loopback. All methods
// may be called concurrently.
type Namespace struct {
	maxMemory int64         // of memory
	memory    atomic.Int64  // bytes held by rings and queues, past the reserves of their budgets
	moment    atomic.Uint64 // how often a socket was bound: see Moment
	pools     sync.Map      // device index (int32) -> *fairshare.Pool, where an Account has sockets

	mu        notifyMutex
	devices   []*Device // by index
	lo        *Device   // in devices; nil: it was replaced or removed
	nextIndex int
	sockets   []*Socket // open ones, oldest first
	taps      []tap     // oldest first
	groups    map[groupKey]*group
	nextGroup map[uint32]uint16 // by scope: the id that FanoutFlagUniqueID tries first
}

// NewNamespace makes a namespace that has a loopback device and no others.
func NewNamespace(c NamespaceConfig) *Namespace {
	if c.MaxMemory <= 0 {
		c.MaxMemory = DefaultMaxMemory
	}
	if c.FirstIndex <= loopbackIndex {
		c.FirstIndex = loopbackIndex + 1
	}
	ns := &Namespace{maxMemory: c.MaxMemory - c.Reserved, nextIndex: c.FirstIndex, groups: make(map[groupKey]*group), nextGroup: make(map[uint32]uint16)}
	ns.lo = newDevice(ns, DeviceConfig{Name: loopbackName, Type: Loopback, MTU: loopbackMTU, MaxLen: loopbackMTU, Index: loopbackIndex, Prefixes: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128"),
	}})
	ns.devices = []*Device{ns.lo}
	return ns
}

// MaxMemory returns the limit of the ring memory of sockets without a reserve, in bytes.
func (ns *Namespace) MaxMemory() int64 { return ns.maxMemory }

// What the loopback device of each network namespace of Linux has, and what
// programs take for granted.
const (
	loopbackName  = "lo"
	loopbackIndex = 1 // LOOPBACK_IFINDEX
)

// Loopback is the loopback device that the namespace began with: lo, index 1, up,
// with the addresses 127.0.0.1/8 and ::1/128, as in a network namespace of Linux.
// Only what sockets send through it passes it. It is nil once a device with that
// name or index was added, which replaces it, or RemoveDevice has removed it.
func (ns *Namespace) Loopback() *Device {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	return ns.lo
}

// AddDevice makes a device, up and ready to deliver to. A Loopback device named lo
// has index 1 unless it is given another. The errors unwrap to what Linux returns
// for it: EINVAL, EEXIST.
func (ns *Namespace) AddDevice(c DeviceConfig) (*Device, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	taken := func(match func(*Device) bool) bool {
		d, ok := ns.findLocked(match)
		return ok && d != ns.lo
	}
	if taken(func(d *Device) bool { return d.name == c.Name }) {
		return nil, explain.Errorf(syscall.EEXIST, "device name %q: want one that is not taken", c.Name)
	}
	switch {
	case c.Index != 0:
	case c.Name == loopbackName && c.Type == Loopback:
		c.Index = loopbackIndex
	default:
		c.Index = ns.nextIndex
	}
	if taken(func(d *Device) bool { return d.index == c.Index }) {
		return nil, explain.Errorf(syscall.EEXIST, "device %s: index %d: want one that is not taken", c.Name, c.Index)
	}
	if ns.lo != nil && (c.Name == loopbackName || c.Index == loopbackIndex) {
		ns.removeDeviceLocked(ns.lo)
	}
	ns.nextIndex = max(ns.nextIndex, c.Index+1) // as dev_new_index does, which never gives one again
	d := newDevice(ns, c)
	i, _ := slices.BinarySearchFunc(ns.devices, c.Index, func(d *Device, index int) int { return d.index - index })
	ns.devices = slices.Insert(ns.devices, i, d)
	for _, s := range ns.sockets {
		s.grant.resolveDevicesLocked(ns.devices)
	}
	ns.rebuildTapsLocked()
	return d, nil
}

// Devices lists the devices that were added, by index. The loopback device that the
// namespace began with is not among them: see Loopback.
func (ns *Namespace) Devices() []*Device {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	return slices.DeleteFunc(slices.Clone(ns.devices), func(d *Device) bool { return d == ns.lo })
}

// DeviceByName finds a device by its name.
func (ns *Namespace) DeviceByName(name string) (*Device, bool) {
	return ns.find(func(d *Device) bool { return d.name == name })
}

// DeviceByIndex finds a device by its index (sll_ifindex).
func (ns *Namespace) DeviceByIndex(index int) (*Device, bool) {
	return ns.find(func(d *Device) bool { return d.index == index })
}

func (ns *Namespace) find(match func(*Device) bool) (*Device, bool) {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	return ns.findLocked(match)
}

func (ns *Namespace) findLocked(match func(*Device) bool) (*Device, bool) {
	if i := slices.IndexFunc(ns.devices, match); i >= 0 {
		return ns.devices[i], true
	}
	return nil, false
}

// tap receives a device's packets: a socket, or a fanout group of sockets. Exactly one field
// is set. It mirrors struct packet_type (linux/netdevice.h).
type tap struct {
	socket *Socket
	group  *group
}

func (t tap) ifindex() int {
	if t.group != nil {
		return t.group.ifindex
	}
	return int(t.socket.ifindex.Load())
}

func (t tap) protocol() uint16 {
	if t.group != nil {
		return t.group.protocol
	}
	return uint16(t.socket.protocol.Load()) // pairs with the store in bindLocked
}

// allowsDeviceLocked reports whether the tap's grants allow d.
func (t tap) allowsDeviceLocked(d *Device) bool {
	if t.group != nil {
		return t.group.allowsDeviceLocked(d)
	}
	return t.socket.grant.allowsDevice(int32(d.index))
}

// receive delivers a packet for the tap's protocol.
func (t tap) receive(p *Packet, meta *packetMeta) {
	if t.group != nil {
		t.group.deliver(p, meta)
	} else {
		t.socket.receive(p, meta)
	}
}

// setRunningLocked sets whether devices deliver to s, by itself or in its group.
func (ns *Namespace) setRunningLocked(s *Socket, hooked bool) {
	if s.running == hooked {
		return
	}
	s.running = hooked
	switch {
	case s.group != nil && hooked:
		ns.linkLocked(s.group, s)
	case s.group != nil:
		ns.unlinkLocked(s.group, s)
	case hooked:
		ns.taps = append(ns.taps, tap{socket: s})
	default:
		ns.removeTapLocked(tap{socket: s})
	}
	ns.rebuildTapsLocked()
}

// removeTapLocked removes t from the taps. It is mostly among the latest.
func (ns *Namespace) removeTapLocked(t tap) {
	for i := len(ns.taps) - 1; i >= 0; i-- {
		if ns.taps[i] == t {
			ns.taps = slices.Delete(ns.taps, i, i+1)
			return
		}
	}
}

// rebuildTapsLocked publishes every device's list of taps, as a new slice: writers continue
// with the old one.
func (ns *Namespace) rebuildTapsLocked() {
	for _, d := range ns.devices {
		var taps []tap
		for _, t := range ns.taps {
			if i := t.ifindex(); d.up.Load() && (i == 0 || i == d.index) && t.allowsDeviceLocked(d) {
				taps = append(taps, t)
			}
		}
		if taps == nil {
			d.taps.Store(nil)
		} else {
			d.taps.Store(&taps)
		}
		ns.mu.notifyLocked(d)
	}
}

// checkName applies Linux's dev_valid_name.
func checkName(name string) error {
	if name == "" || len(name) > 15 || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r") {
		return explain.Errorf(syscall.EINVAL, "device name %q: want 1 to 15 bytes without '/', ':' and white space", name)
	}
	return nil
}

// notifyMutex runs pending device callbacks when it is unlocked.
type notifyMutex struct {
	mu      sync.Mutex
	pending []func() // callbacks to run; mu guards it
}

// notifyLocked has the device's OnInterestChange function run after the unlock.
func (m *notifyMutex) notifyLocked(d *Device) {
	if d.onInterestChange != nil {
		m.pending = append(m.pending, d.onInterestChange)
	}
}

func (m *notifyMutex) Lock() { m.mu.Lock() }

// UnlockAndNotify unlocks m, then runs the callbacks.
func (m *notifyMutex) UnlockAndNotify() {
	pending := m.pending
	m.pending = nil
	m.mu.Unlock()
	for _, f := range pending {
		f()
	}
}

// addSocket adds s to the namespace's sockets.
func (ns *Namespace) addSocket(s *Socket) {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	ns.sockets = append(ns.sockets, s)
	s.grant.resolveDevicesLocked(ns.devices)
	ns.stampBindLocked(s)
	if s.protocol.Load() != 0 {
		ns.setRunningLocked(s, true)
	}
}

// removeSocket removes a socket that is being closed.
func (ns *Namespace) removeSocket(s *Socket) {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	ns.setRunningLocked(s, false)
	ns.flushMembershipsLocked(s, nil)
	if i := slices.Index(ns.sockets, s); i >= 0 {
		ns.sockets = slices.Delete(ns.sockets, i, i+1)
	}
}

// setUpLocked is packet_notifier for NETDEV_UP and NETDEV_DOWN.
func (ns *Namespace) setUpLocked(d *Device, up bool) {
	if d.up.Swap(up) == up {
		return
	}
	for _, s := range ns.sockets {
		switch {
		case s.device != d:
		case up:
			if s.protocol.Load() != 0 {
				ns.setRunningLocked(s, true)
			}
		case s.running:
			ns.setRunningLocked(s, false)
			s.setError(syscall.ENETDOWN)
		}
	}
	ns.rebuildTapsLocked()
}

// RemoveDevice sets the device down and removes it: its name is free, its index is not used
// again, its memberships are dropped, and sockets bound to it are bound to index -1. ENODEV if
// it is not in the namespace.
func (ns *Namespace) RemoveDevice(d *Device) error {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	if !slices.Contains(ns.devices, d) {
		return explain.Errorf(syscall.ENODEV, "device %s: it is not in this namespace", d.name)
	}
	ns.removeDeviceLocked(d)
	return nil
}

func (ns *Namespace) removeDeviceLocked(d *Device) {
	ns.setUpLocked(d, false)
	for _, s := range ns.sockets { // packet_notifier for NETDEV_UNREGISTER
		ns.flushMembershipsLocked(s, d)
		if s.device == d {
			s.setDeviceLocked(nil)
			s.ifindex.Store(-1)
		}
	}
	ns.devices = slices.DeleteFunc(ns.devices, func(o *Device) bool { return o == d })
	if ns.lo == d {
		ns.lo = nil
	}
	ns.pools.Delete(int32(d.index))
}
