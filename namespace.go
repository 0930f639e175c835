package rxring

import (
	"maps"
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
	changes   atomic.Uint64 // see DeviceChanges
	pools     sync.Map      // device index (int32) -> *devicePool, where an Account has sockets

	mu         notifyMutex
	devices    deviceTable
	lo         *Device // in devices; nil: it was replaced or removed
	nextIndex  int
	restricted map[*Socket]struct{} // open sockets with a Grant.Devices
	backlogged map[*Device]struct{} // devices with a backlog
	anyTaps    []tap                // of all devices, oldest first
	newTaps    *[]tap               // what the last new device received of anyTaps: others share it
	groups     map[groupKey]*group
	nextGroup  map[uint32]uint16 // by scope: the id that FanoutFlagUniqueID tries first
}

// NewNamespace makes a namespace that has a loopback device and no others.
func NewNamespace(c NamespaceConfig) *Namespace {
	if c.MaxMemory <= 0 {
		c.MaxMemory = DefaultMaxMemory
	}
	if c.FirstIndex <= loopbackIndex {
		c.FirstIndex = loopbackIndex + 1
	}
	ns := &Namespace{
		maxMemory:  c.MaxMemory - c.Reserved,
		devices:    newDeviceTable(),
		nextIndex:  c.FirstIndex,
		restricted: make(map[*Socket]struct{}),
		backlogged: make(map[*Device]struct{}),
		groups:     make(map[groupKey]*group),
		nextGroup:  make(map[uint32]uint16),
	}
	ns.lo = newDevice(ns, DeviceConfig{Name: loopbackName, Type: Loopback, MTU: loopbackMTU, MaxLen: loopbackMTU, Index: loopbackIndex, Prefixes: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128"),
	}})
	ns.devices.insert(ns.lo)
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
	if d, taken := ns.devices.byName[c.Name]; taken && d != ns.lo {
		return nil, explain.Errorf(syscall.EEXIST, "device name %q: want one that is not taken", c.Name)
	}
	switch {
	case c.Index != 0:
	case c.Name == loopbackName && c.Type == Loopback:
		c.Index = loopbackIndex
	default:
		c.Index = ns.nextIndex
	}
	if d, taken := ns.devices.byIndex[c.Index]; taken && d != ns.lo {
		return nil, explain.Errorf(syscall.EEXIST, "device %s: index %d: want one that is not taken", c.Name, c.Index)
	}
	if ns.lo != nil && (c.Name == loopbackName || c.Index == loopbackIndex) {
		ns.removeDeviceLocked(ns.lo)
	}
	ns.nextIndex = max(ns.nextIndex, c.Index+1) // as dev_new_index does, which never gives one again
	d := newDevice(ns, c)
	ns.devices.insert(d)
	for s := range ns.restricted {
		s.grant.addDeviceLocked(d, &ns.devices)
	}
	d.publishTapsLocked(ns.tapsForNewLocked(d))
	ns.changes.Add(1)
	return d, nil
}

// Devices lists the devices that were added, by index. The loopback device that the
// namespace began with is not among them: see Loopback.
func (ns *Namespace) Devices() []*Device {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	return slices.DeleteFunc(slices.Clone(ns.devices.list()), func(d *Device) bool { return d == ns.lo })
}

// DeviceChanges counts the changes of the namespace's devices: one was added, removed, or set up
// or down, or its MTU, MaxLen or prefixes were set. While it is the same, the devices are.
func (ns *Namespace) DeviceChanges() uint64 { return ns.changes.Load() }

// DeviceByName finds a device by its name.
func (ns *Namespace) DeviceByName(name string) (*Device, bool) {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	d, ok := ns.devices.byName[name]
	return d, ok
}

// DeviceByIndex finds a device by its index (sll_ifindex).
func (ns *Namespace) DeviceByIndex(index int) (*Device, bool) {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	d, ok := ns.devices.byIndex[index]
	return d, ok
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
	pending []*Device // whose callbacks are to run, each once; mu guards it
}

// notifyLocked has the device's OnInterestChange function run after the unlock.
func (m *notifyMutex) notifyLocked(d *Device) {
	if d.onInterestChange != nil && !d.notifying {
		d.notifying = true
		m.pending = append(m.pending, d)
	}
}

func (m *notifyMutex) Lock() { m.mu.Lock() }

// UnlockAndNotify unlocks m, then runs the callbacks.
func (m *notifyMutex) UnlockAndNotify() {
	var callbacks []func()
	for _, d := range m.pending {
		d.notifying = false
		if d.onInterestChange != nil {
			callbacks = append(callbacks, d.onInterestChange)
		}
	}
	m.pending = nil
	m.mu.Unlock()
	for _, f := range callbacks {
		f()
	}
}

// addSocket makes s a socket of the namespace.
func (ns *Namespace) addSocket(s *Socket) {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	s.resolveGrantLocked()
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
	ns.flushMembershipsLocked(s, func(*Device) bool { return true })
	delete(ns.restricted, s)
	if s.device != nil {
		s.device.removeBoundLocked(s) // the socket keeps its address
	}
}

// setUpLocked is packet_notifier for NETDEV_UP and NETDEV_DOWN.
func (ns *Namespace) setUpLocked(d *Device, up bool) {
	if d.up.Swap(up) == up {
		return
	}
	if up {
		d.publishTapsLocked(ns.tapsForNewLocked(d))
	} else {
		d.publishTapsLocked(nil)
	}
	for _, s := range d.bound {
		switch {
		case up:
			if s.protocol.Load() != 0 {
				ns.setRunningLocked(s, true)
			}
		case s.running:
			ns.setRunningLocked(s, false)
			s.setError(syscall.ENETDOWN)
		}
	}
	ns.changes.Add(1)
}

// RemoveDevice sets the device down and removes it: its name is free, its index is not used
// again, its memberships are dropped, and sockets bound to it are bound to index -1. ENODEV if
// it is not in the namespace.
func (ns *Namespace) RemoveDevice(d *Device) error {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	if !ns.devices.has(d) {
		return explain.Errorf(syscall.ENODEV, "device %s: it is not in this namespace", d.name)
	}
	ns.removeDeviceLocked(d)
	return nil
}

func (ns *Namespace) removeDeviceLocked(d *Device) {
	ns.setUpLocked(d, false)
	for s := range maps.Clone(d.members) { // packet_notifier for NETDEV_UNREGISTER
		ns.flushMembershipsLocked(s, func(o *Device) bool { return o == d })
	}
	for _, s := range slices.Clone(d.bound) {
		s.setDeviceLocked(nil)
		s.ifindex.Store(-1)
	}
	ns.devices.remove(d)
	delete(ns.backlogged, d)
	ns.changes.Add(1)
	if ns.lo == d {
		ns.lo = nil
	}
	ns.removePool(int32(d.index))
}

// deviceTable holds a namespace's devices. Adding, removing and finding one takes the same time
// however many there are. Namespace.mu guards it.
type deviceTable struct {
	byIndex map[int]*Device
	byName  map[string]*Device
	ordered []*Device // by index; list drops those that were removed
}

func newDeviceTable() deviceTable {
	return deviceTable{byIndex: make(map[int]*Device), byName: make(map[string]*Device)}
}

// insert adds d, whose name and index are not taken.
func (t *deviceTable) insert(d *Device) {
	if len(t.ordered) > 2*len(t.byIndex)+64 {
		t.list() // most were removed
	}
	t.byIndex[d.index], t.byName[d.name] = d, d
	i, _ := slices.BinarySearchFunc(t.ordered, d.index, func(o *Device, index int) int { return o.index - index })
	t.ordered = slices.Insert(t.ordered, i, d)
}

// remove removes d, which is in the table.
func (t *deviceTable) remove(d *Device) {
	delete(t.byIndex, d.index)
	delete(t.byName, d.name)
}

func (t *deviceTable) has(d *Device) bool { return t.byIndex[d.index] == d }

// list returns the devices by index, until the table changes.
func (t *deviceTable) list() []*Device {
	if len(t.ordered) > len(t.byIndex) {
		t.ordered = slices.DeleteFunc(t.ordered, func(d *Device) bool { return !t.has(d) })
	}
	return t.ordered
}

// matching returns the device with that index, or all if it is 0, until the table changes.
func (t *deviceTable) matching(index int) []*Device {
	if index == 0 {
		return t.list()
	}
	if d, ok := t.byIndex[index]; ok {
		return []*Device{d}
	}
	return nil
}

// removeBoundLocked removes s from the sockets that are bound to d.
func (d *Device) removeBoundLocked(s *Socket) {
	if i := slices.Index(d.bound, s); i >= 0 {
		d.bound = slices.Delete(d.bound, i, i+1)
	}
}
