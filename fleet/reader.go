package fleet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/delivery"
	"github.com/rxring/rxring/source/file/linktype"
)

// ReaderConfig configures a [Reader]. Only Namespace must be set.
type ReaderConfig struct {
	Namespace *rxring.Namespace
	Query     Query       // what Discover was given: devices that appear later are added
	Compress  Compression // "": Auto
	Name      string      // of the device, if there is one; "": its own

	// Reorder delivers the packets of all devices in the order of their time stamps, if they
	// arrive within this time of each other, and so delays each by it; at most 10 s. 0:
	// packets are delivered as they arrive.
	Reorder time.Duration

	// Failed is called with errors that do not end the reader, such as a host's refusal of a
	// session, or a host whose devices are not known. It may be called concurrently, and before
	// NewReader returns. nil: not called.
	Failed func(error)
}

// Counts are those of a [Reader], or of one of its devices, since its start.
type Counts struct {
	Packets, Bytes uint64 // delivered
	Unseen         uint64 // delivered while their device had no sockets any more
	Cut            uint64 // delivered shorter than they were
	Batches        uint64
	Received       uint64 // bytes of batches, as they crossed the network
	Sessions       uint64 // opened or changed
	Late           uint64 // delivered after a packet with a later stamp, in spite of ReaderConfig.Reorder; of a Reader only
	Lost           Losses
}

// Reader has a device in a namespace for each device of some hosts. Its methods may be called
// concurrently.
type Reader struct {
	nc     *nats.Conn
	cfg    ReaderConfig
	query  Query
	user   string          // of this process, for hosts' logs
	ctx    context.Context // until Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines of devices, follow, and the merger's
	merger *merger        // nil: none

	mu      sync.Mutex
	started bool
	devices []*device
	silent  map[string]bool // hosts whose devices are not known, which is reported once

	unusable map[string]bool // devices that cannot be added, as HOST/DEVICE
}

// rediscover is the time between discoveries.
const rediscover = 10 * time.Second

// NewReader adds a device for each device of hosts to c.Namespace. If c.Query.Hosts is a pattern,
// devices are called HOST.DEVICE; names of more than 15 bytes are shortened. Nothing is requested before
// Start. nc stays open after Close.
func NewReader(nc *nats.Conn, hosts []Host, c ReaderConfig) (*Reader, error) {
	r := &Reader{nc: nc, cfg: c, query: c.Query, user: userAndHost(), unusable: make(map[string]bool)}
	if c.Namespace == nil {
		return nil, errors.New("fleet: no Namespace: want the one to add devices to")
	}
	if c.Compress == "" {
		r.cfg.Compress = Auto
	}
	if err := errors.Join(r.cfg.Compress.check(), r.query.check()); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	if c.Reorder < 0 || c.Reorder > maxReorder {
		return nil, fmt.Errorf("fleet: reorder %v: want at most %v, or 0 for packets as they arrive", c.Reorder, maxReorder)
	}
	if c.Reorder > 0 {
		r.merger = newMerger(c.Reorder)
	}
	total := 0
	for _, h := range hosts {
		total += len(h.Devices)
	}
	if c.Name != "" && total != 1 {
		return nil, fmt.Errorf("fleet: name %q: there are %d devices: want no name, or a query for one", c.Name, total)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	var errs []error // of devices, such as one of a type that is not known here: others are read
	for _, h := range hosts {
		for _, far := range h.Devices {
			d, err := r.add(h.Name, far, c.Name)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			r.devices = append(r.devices, d)
		}
	}
	if len(r.devices) == 0 && errs != nil {
		return nil, errors.Join(errs...)
	}
	for _, err := range append(errs, r.newlySilent(hosts)...) {
		r.failed(err)
	}
	return r, nil
}

// userAndHost returns USER@HOST of this process, as far as they are known.
func userAndHost() string {
	name := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname()
	name += "@" + host
	return name[:min(len(name), maxToken)]
}

// add adds a device to the namespace. One that cannot be added is not tried again.
func (r *Reader) add(host string, far Device, name string) (*device, error) {
	dev, link, err := addDevice(r.cfg.Namespace, host, far, name, r.query.several())
	if err != nil {
		r.unusable[host+"/"+far.Name] = true
		return nil, err
	}
	dev.SetUp(far.Up)
	return newDevice(r, host, far, link, dev), nil
}

// addDevice adds a device that shows a device of a host.
func addDevice(ns *rxring.Namespace, host string, far Device, name string, several bool) (*rxring.Device, *linktype.Link, error) {
	link, _ := linktype.OfDevice(far.Type)
	l, err := linktype.Of(link)
	if err != nil {
		return nil, nil, fmt.Errorf("fleet: device %s of host %s: %w", far.Name, host, err)
	}
	if name == "" {
		name = localName(host, far.Name, several, func(name string) bool {
			_, taken := ns.DeviceByName(name)
			return taken && name != "lo"
		})
	}
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: name, Type: far.Type, MTU: far.MTU, MaxLen: far.maxLen(), HardwareAddr: far.HardwareAddr, Prefixes: far.Prefixes, Alias: alias(host, far.Name)})
	if err != nil {
		return nil, nil, fmt.Errorf("fleet: device %s of host %s: %w", far.Name, host, err)
	}
	return dev, l, nil
}

// maxLen bounds what a host says: a ring's slots are sized by it.
func (d Device) maxLen() int { return min(max(d.MaxLen, d.MTU), 8*math.MaxUint16) }

// Start begins to request packets as sockets want them.
func (r *Reader) Start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.ctx.Err() != nil {
		return errors.New("fleet: the reader was started or closed before")
	}
	r.started = true
	for _, d := range r.devices {
		if err := d.start(); err != nil {
			return fmt.Errorf("fleet: device %s of host %s: %w", d.far.Name, d.host, err)
		}
	}
	r.wg.Go(r.follow)
	if r.merger != nil {
		r.wg.Go(func() { r.merger.run(r.ctx) })
	}
	return nil
}

// Devices returns the devices so far.
func (r *Reader) Devices() []*rxring.Device {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*rxring.Device, len(r.devices))
	for i, d := range r.devices {
		all[i] = d.dev
	}
	return all
}

// findLocked returns the reader's device that dev is; nil if it is not the reader's.
func (r *Reader) findLocked(dev *rxring.Device) *device {
	i := slices.IndexFunc(r.devices, func(d *device) bool { return d.dev == dev })
	if i < 0 {
		return nil
	}
	return r.devices[i]
}

// Origin returns where a device's packets are from, as HOST/DEVICE; "" if it is not the reader's.
func (r *Reader) Origin(dev *rxring.Device) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.findLocked(dev); d != nil {
		return d.origin()
	}
	return ""
}

// Counts returns the counts of all devices together so far.
func (r *Reader) Counts() (all Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.devices {
		c := d.countsLocked()
		all.Packets += c.Packets
		all.Bytes += c.Bytes
		all.Unseen += c.Unseen
		all.Cut += c.Cut
		all.Batches += c.Batches
		all.Received += c.Received
		all.Sessions += c.Sessions
		all.Lost.add(c.Lost)
	}
	if r.merger != nil {
		all.Late = r.merger.late.Load()
	}
	return all
}

// DeviceCounts returns the counts of one device so far, zero if it is not the reader's.
func (r *Reader) DeviceCounts(dev *rxring.Device) Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.findLocked(dev); d != nil {
		return d.countsLocked()
	}
	return Counts{}
}

// Close ends the sessions, and returns once nothing more is delivered. The devices stay.
func (r *Reader) Close() error {
	r.mu.Lock()
	r.cancel()
	r.mu.Unlock()
	r.wg.Wait()
	return nil
}

func (r *Reader) failed(err error) {
	if r.cfg.Failed != nil && r.ctx.Err() == nil {
		r.cfg.Failed(err)
	}
}

// follow adds devices that appear.
func (r *Reader) follow() {
	for delivery.Sleep(r.ctx, rediscover) == nil {
		q := r.query // discover stores to it, and devices read it
		f, err := discover(r.ctx, r.nc, &q)
		if err != nil {
			continue
		}
		for _, err := range append(r.addNew(f.found), r.newlySilent(f.found)...) {
			r.failed(err)
		}
	}
}

// addNew adds the devices that the reader does not have.
func (r *Reader) addNew(hosts []Host) (errs []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range hosts {
		for _, far := range h.Devices {
			i := slices.IndexFunc(r.devices, func(d *device) bool { return d.host == h.Name && d.far.Name == far.Name })
			if i >= 0 || r.unusable[h.Name+"/"+far.Name] || r.ctx.Err() != nil || r.cfg.Name != "" {
				continue
			}
			d, err := r.add(h.Name, far, "")
			if err == nil {
				err = d.start()
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
			r.devices = append(r.devices, d)
		}
	}
	return errs
}

// newlySilent returns the errors of hosts that did answer in the discovery before. If the reader
// has devices of a host, these report that it is silent.
func (r *Reader) newlySilent(hosts []Host) (errs []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.silent
	r.silent = make(map[string]bool)
	for _, h := range hosts {
		if h.Err == nil || slices.ContainsFunc(r.devices, func(d *device) bool { return d.host == h.Name }) {
			continue
		}
		if r.silent[h.Name] = true; !before[h.Name] {
			errs = append(errs, h.Err)
		}
	}
	return errs
}
