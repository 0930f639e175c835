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
	"github.com/rxring/rxring/internal/pushfilter"
)

// ErrGone is the error of a Source whose interface was removed.
var ErrGone = errors.New("the interface is gone")

// Source delivers the packets of an interface to a device.
type Source struct {
	dev   *rxring.Device
	cfg   Config
	netns *netns
	out   outlet
	index int // of the interface: it may be renamed

	lengths lengths // the interface's, as last seen; tend's

	quit chan struct{} // closed by Close
	done chan struct{} // closed when tend has returned
	kick chan struct{} // tend checks the tap

	open atomic.Pointer[[]*drain] // the tap's; nil if it is closed; see drains

	mu     sync.Mutex
	over   bool // no tap is opened any more
	closed bool
	gone   error
	tap    tap   // the open sockets
	past   Stats // of closed taps, and all that no ring counts
}

// Start delivers the interface's packets to dev until Close, or until the interface is
// removed. It needs CAP_NET_RAW, permanently: the kernel's sockets are opened when a first
// socket is bound to dev, within that call, and closed after the last one. They belong to the
// network namespace of the thread that calls Start.
//
// The device is up while the interface is, and its MTU and MaxLen change with those of the
// interface. Only one Source at a time should feed a device; it
// sets the device's OnInterestChange and SetBacklog. Start fails with ENODEV if there is no
// such interface, and EPERM without the capability.
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
		s.lengths, err = l.lengths()
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

// agree checks that the device has the interface's hardware type.
func (s *Source) agree(l link) error {
	if t := s.dev.Type(); t != rxring.DeviceType(l.hatype) {
		return explain.Errorf(unix.EINVAL, "hardware type %d: device %s has type %d: want that of the interface, see Describe", l.hatype, s.dev.Name(), t)
	}
	return nil
}

// adjust opens, sets or closes the kernel's sockets as the device's sockets need; it is the
// function of OnInterestChange. tend closes them, since that is slow in the kernel.
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
		err = s.followLocked()
	}
	s.mu.Unlock()
	s.report(err)
}

// followLocked opens the tap, unless it is open, and sets its filter and memberships.
func (s *Source) followLocked() error {
	err := error(nil)
	if !s.tap.open() {
		if err = s.netns.do(s.openTap); err == nil {
			s.past.Opens++
		}
	}
	if err == nil {
		err = s.tap.set(memberships(s.dev), pushfilter.Common(s.dev.Filters()))
	}
	if err != nil {
		err = fmt.Errorf("iface: interface %s: %w", s.cfg.Name, err)
		s.look() // which tries again
	}
	s.past.Err = err
	return err
}

func (s *Source) report(err error) {
	if err != nil && s.cfg.Failed != nil {
		s.cfg.Failed(err)
	}
}

// openTap opens the kernel's sockets, on a thread in the namespace.
func (s *Source) openTap() error {
	l, err := lookUpIndex(s.index) // it may have been renamed
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

// Done returns a channel that is closed once nothing is delivered any more: after Close, whose caller
// may remove the device, or when the interface was removed, and the device with it.
func (s *Source) Done() <-chan struct{} { return s.done }

// Err returns the error that has ended the Source, which unwraps to ErrGone if the interface
// was removed; nil before that.
func (s *Source) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// Stats returns the counts so far. It may be called at any time, also after Close.
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

// Close ends the Source, and returns once nothing is delivered any more and all descriptors
// are closed. It returns Err's error. The device remains, without a source. Closing again does
// nothing.
func (s *Source) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed, s.over = true, true
	s.closeTapLocked()
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
