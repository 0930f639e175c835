package tun

import (
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/rxring/rxring"
)

// Inner is the device to wrap: tun.Device of golang.zx2c4.com/wireguard, with E its Event, or
// of a fork. The forks differ in the type of their events only.
type Inner[E any] interface {
	File() *os.File
	Read(bufs [][]byte, sizes []int, offset int) (n int, err error)
	Write(bufs [][]byte, offset int) (int, error)
	MTU() (int, error)
	Name() (string, error)
	Events() <-chan E
	Close() error
	BatchSize() int
}

// Config configures the device that Add makes. The zero value works.
type Config struct {
	Name     string         // of the device; "": the inner device's name
	Prefixes []netip.Prefix // the tunnel's addresses, as rxring.DeviceConfig has them

	// Ethernet makes the device an Ethernet device: readers see each packet behind an
	// Ethernet header that was never sent. libpcap sizes the slots of an immediate-mode
	// ring by the MTU on Ethernet devices only. On others they have the size of the
	// snapshot length, so that with tcpdump's default of 262144 bytes, a ring has 8
	// slots, as on a TUN device of Linux.
	Ethernet bool

	// Send lets packet sockets send IP packets through the device: Read returns them
	// among those of the inner device. It costs a goroutine, and a copy of each packet
	// that is read. Without it, what is sent is shown to the other sockets and discarded.
	Send bool
}

// Device is a TUN device whose packets are delivered to a device of a namespace, too. Its
// methods are those of the inner device, and may be called concurrently where the inner
// device's may.
type Device[E any] struct {
	inner   Inner[E]
	tap     *rxring.Device
	headers *headers // nil: the tap has no link-layer header
	sender  *sender  // nil: Read is the inner device's
	owned   bool     // Close removes the tap
	events  chan E
	closed  chan struct{}
	closing sync.Once
}

// Add adds a device to ns and returns inner with its packets delivered to it. The device has
// inner's MTU, and follows its changes. Close closes inner and removes the device.
func Add[E any](ns *rxring.Namespace, inner Inner[E], c Config) (*Device[E], error) {
	mtu, err := inner.MTU()
	if err != nil {
		return nil, fmt.Errorf("tun: MTU of the inner device: %w", err)
	}
	if c.Name == "" {
		if c.Name, err = inner.Name(); err != nil {
			return nil, fmt.Errorf("tun: name of the inner device: %w; set Config.Name", err)
		}
	}
	dc := rxring.DeviceConfig{Name: c.Name, Type: rxring.RawIP, MTU: mtu, Prefixes: c.Prefixes}
	if c.Ethernet {
		dc.Type = rxring.Ethernet
	}
	tap, err := ns.AddDevice(dc)
	if err != nil {
		return nil, fmt.Errorf("tun: %w", err)
	}
	d := newDevice(inner, tap)
	d.owned = true
	if c.Send {
		d.sender = newSender(d.headers.size(), d.closed)
		tap.SetTransmitReady(d.sender.ready)
		tap.SetTransmit(d.sender.transmit)
	}
	d.start()
	return d, nil
}

// Wrap returns inner with its packets delivered to tap, whose type should be
// [rxring.RawIP]; on an Ethernet device, see [Config].Ethernet. Close does not remove tap.
func Wrap[E any](inner Inner[E], tap *rxring.Device) *Device[E] {
	d := newDevice(inner, tap)
	d.start()
	return d
}

func newDevice[E any](inner Inner[E], tap *rxring.Device) *Device[E] {
	d := &Device[E]{inner: inner, tap: tap, events: make(chan E), closed: make(chan struct{})}
	if tap.Type().Ethernet() {
		d.headers = newHeaders(tap.HardwareAddr())
	}
	return d
}

func (d *Device[E]) start() { go d.forwardEvents(d.inner.Events()) }

// forwardEvents forwards the inner device's events until the last, or Close.
func (d *Device[E]) forwardEvents(events <-chan E) {
	defer close(d.events)
	for {
		select {
		case event, ok := <-events:
			if !ok {
				return
			}
			d.updateMTU() // whatever E calls the event that reports a new MTU
			select {
			case d.events <- event:
			case <-d.closed:
				return
			}
		case <-d.closed:
			return
		}
	}
}

// updateMTU sets the tap's MTU to the inner device's. A tap refuses an MTU that no device of
// Linux has, and keeps the one before.
func (d *Device[E]) updateMTU() {
	if mtu, err := d.inner.MTU(); err == nil && mtu > 0 && mtu != d.tap.MTU() {
		d.tap.SetMTU(mtu, 0)
	}
}

// Read reads packets that the host sends, and delivers them as outgoing.
func (d *Device[E]) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	if d.sender != nil {
		return d.sender.read(d, bufs, sizes, offset)
	}
	n, err := d.inner.Read(bufs, sizes, offset)
	d.deliverRead(bufs[:n], sizes, offset)
	return n, err
}

func (d *Device[E]) deliverRead(bufs [][]byte, sizes []int, offset int) {
	b := d.tap.Batch()
	if b == nil {
		return
	}
	for i, buf := range bufs {
		if n := sizes[i]; n > 0 { // an element without a packet has size 0
			d.headers.add(b, buf[offset:offset+n], true)
		}
	}
	b.Deliver()
}

// Write delivers packets as incoming and writes them to the inner device, which may change
// them: an error of the inner device means that readers have seen packets that the host has
// not received.
func (d *Device[E]) Write(bufs [][]byte, offset int) (int, error) {
	if b := d.tap.Batch(); b != nil {
		for _, buf := range bufs {
			if len(buf) > offset {
				d.headers.add(b, buf[offset:], false)
			}
		}
		b.Deliver()
	}
	return d.inner.Write(bufs, offset)
}

// Close closes the inner device; of a device that Add made, it removes the namespace's.
func (d *Device[E]) Close() error {
	d.closing.Do(func() {
		close(d.closed)
		if d.sender != nil {
			d.tap.SetTransmit(nil)
			d.tap.SetTransmitReady(nil)
		}
		if d.owned {
			d.tap.Namespace().RemoveDevice(d.tap) // an error means that it was removed before
		}
	})
	return d.inner.Close()
}

// Tap returns the device to which packets are delivered.
func (d *Device[E]) Tap() *rxring.Device { return d.tap }

func (d *Device[E]) File() *os.File        { return d.inner.File() }
func (d *Device[E]) MTU() (int, error)     { return d.inner.MTU() }
func (d *Device[E]) Name() (string, error) { return d.inner.Name() }
func (d *Device[E]) BatchSize() int        { return d.inner.BatchSize() }

// Events returns the inner device's events.
func (d *Device[E]) Events() <-chan E { return d.events }

// DisableUDPGRO and DisableTCPGRO are called by tailscale's fork, on devices that have them:
// its GRODevice.
func (d *Device[E]) DisableUDPGRO() {
	if inner, ok := d.inner.(interface{ DisableUDPGRO() }); ok {
		inner.DisableUDPGRO()
	}
}

func (d *Device[E]) DisableTCPGRO() {
	if inner, ok := d.inner.(interface{ DisableTCPGRO() }); ok {
		inner.DisableTCPGRO()
	}
}
