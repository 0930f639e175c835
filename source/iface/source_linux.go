package iface

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/explain"
)

// ErrGone is why a Source ends by itself.
var ErrGone = errors.New("the interface is gone")

// Source delivers what passes an interface to a device.
type Source struct {
	dev   *rxring.Device
	cfg   Config
	netns *netns
	out   outlet
	index int // of the interface: it may be renamed

	quit chan struct{} // closed by Close
	done chan struct{} // closed when tend has returned
	kick chan struct{} // tend looks at once

	open atomic.Pointer[[]*drain] // the tap's, nil: it is closed; see drains

	mu     sync.Mutex
	over   bool // nothing is opened any more
	closed bool
	gone   error
	tap    tap   // what is open
	past   Stats // of what was closed; and all that is not of rings
}

// Start delivers what passes the interface to dev until Close, or until the
// interface is gone. It needs CAP_NET_RAW, to be kept: the kernel's sockets are
// opened whenever somebody begins to read dev, in the call with which he does (Bind),
// and closed after the last. They are of the network namespace of the thread that
// calls Start.
//
// The device goes up and down with the interface. One Source at a time should feed
// a device; it takes the device's OnInterestChange and SetBacklog. ENODEV when there is no such interface,
// EPERM without the capability.
func Start(dev *rxring.Device, cfg Config) (*Source, error) {
	if dev == nil {
		return nil, errors.New("iface: no device")
	}
	if err := cfg.check(dev); err != nil {
		return nil, err
	}
	s := &Source{
		dev:  dev,
		cfg:  cfg,
		quit: make(chan struct{}),
		done: make(chan struct{}),
		kick: make(chan struct{}, 1),
	}
	var err error
	if s.netns, err = currentNetns(); err == nil {
		if err = s.netns.do(s.start); err != nil {
			s.netns.close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("iface: interface %s: %w", cfg.Name, err)
	}
	return s, nil
}

func (s *Source) start() error {
	links, err := subscribe() // before lookUp: no change between the two is lost
	if err != nil {
		return err
	}
	l, err := lookUp(s.cfg.Name)
	if err == nil {
		err = s.agree(l)
	}
	if err == nil {
		err = s.tryOut(l.name)
	}
	if err != nil {
		links.end()
		return err
	}
	s.index = l.index
	s.dev.SetUp(l.up)
	s.startSending()
	s.dev.SetBacklog(backlog{s})
	s.dev.OnInterestChange(s.adjust) // which calls it
	go s.tend(links)
	return nil
}

// agree says whether the device can have the interface's packets.
func (s *Source) agree(l link) error {
	if t := s.dev.Type(); t != rxring.DeviceType(l.hatype) {
		return explain.Errorf(unix.EINVAL, "hardware type %d: device %s has type %d: want that of the interface, see Describe", l.hatype, s.dev.Name(), t)
	}
	return nil
}

// adjust brings the kernel's sockets to what the device's sockets want. It is what
// OnInterestChange calls. To close them takes the kernel a while: nobody waits for that.
func (s *Source) adjust() {
	s.mu.Lock()
	var err error
	switch {
	case s.over:
	case !s.dev.HasListeners():
		if s.tap.open() {
			s.look()
		}
	default:
		err = s.follow()
	}
	s.mu.Unlock()
	s.report(err)
}

// follow opens the tap, unless it is open, and sets it. mu is held.
func (s *Source) follow() error {
	err := error(nil)
	if !s.tap.open() {
		if err = s.netns.do(s.openTap); err == nil {
			s.past.Opens++
		}
	}
	if err == nil {
		err = s.tap.set(memberships(s.dev), forKernel(s.dev.Filters()))
	}
	if err != nil {
		err = fmt.Errorf("iface: interface %s: %w", s.cfg.Name, err)
		s.look() // and try again
	}
	s.past.Err = err
	return err
}

func (s *Source) report(err error) {
	if err != nil && s.cfg.Failed != nil {
		s.cfg.Failed(err)
	}
}

// openTap opens the kernel's sockets. It is called in the namespace.
func (s *Source) openTap() error {
	l, err := lookUpIndex(s.index) // it may have another name
	if err != nil {
		return err
	}
	return s.out.throughTap(func() (*capture.Handle, error) {
		if err := s.tap.start(s.dev, &s.cfg, l.name, nil, s.look); err != nil {
			return nil, err
		}
		drains := s.tap.drains
		s.open.Store(&drains)
		return drains[0].handle, nil
	})
}

// Done is closed when nothing is delivered any more: after Close, or because the
// interface is gone. The device is down then; the caller may remove it.
func (s *Source) Done() <-chan struct{} { return s.done }

// Err is why the Source has ended by itself, which unwraps to ErrGone if the
// interface is; nil as long as it has not.
func (s *Source) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// Stats counts what was done so far. It may be called at any time, also after Close.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.past
	for _, d := range s.tap.drains {
		d.addTo(&now)
	}
	now.Sent, now.SendErrors = s.out.sent.Load(), s.out.failed.Load()
	now.Open, now.Filtered = s.tap.open(), s.tap.filter != nil
	return now
}

// Close ends the Source, and returns when nothing is delivered any more and no
// descriptor is left. Its error is Err's. The device stays as it is, without a
// source. Closing again does nothing.
func (s *Source) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed, s.over = true, true
	s.closeTap()
	s.past.Err = nil
	s.mu.Unlock()
	s.dev.OnInterestChange(nil)
	s.dev.SetBacklog(nil)
	s.dev.SetTransmit(nil)
	s.dev.SetTransmitReady(nil)
	s.out.close()
	close(s.quit)
	<-s.done
	s.netns.close()
	return s.Err()
}
