package iface

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// retryAfter is the delay before a Source opens a tap again that has failed.
const retryAfter = time.Second

// look wakes tend to check the tap.
func (s *Source) look() {
	select {
	case s.kick <- struct{}{}:
	default: // a wake-up is pending
	}
}

// tend follows the interface's state, and closes and reopens the tap, until the Source ends.
func (s *Source) tend(links subscription) {
	defer close(s.done)
	defer func() { links.end() }()
	var retry <-chan time.Time
	for {
		select {
		case <-s.quit:
			return
		case u, ok := <-links.updates:
			switch {
			case !ok: // updates were lost
				if err := s.resubscribe(&links); err != nil {
					s.end(err)
					return
				}
			case u.index != s.index:
			case u.removed:
				s.end(ErrGone)
				return
			default:
				if err := s.follow(u.up); err != nil {
					s.end(err)
					return
				}
			}
		case <-s.kick:
			if s.tidy() {
				retry = time.After(retryAfter)
			}
		case <-retry:
			retry = nil
			s.adjust()
		}
	}
}

// resubscribe replaces a subscription that has failed, and reads the state that the lost
// updates may have changed.
func (s *Source) resubscribe(links *subscription) error {
	return s.netns.do(func() error {
		fresh, err := subscribe()
		if err != nil {
			return err
		}
		links.end()
		*links = fresh
		l, err := s.current()
		if errors.Is(err, unix.ENODEV) {
			return ErrGone
		} else if err != nil {
			return err
		}
		s.setUp(l.up)
		return nil
	})
}

// follow gives the device the interface's state and lengths; ErrGone if the interface was removed.
func (s *Source) follow(up bool) error {
	err := s.netns.do(func() error {
		_, err := s.current()
		return err
	})
	if errors.Is(err, unix.ENODEV) {
		return ErrGone
	}
	s.setUp(up)
	return nil
}

// current looks the interface up, in the calling thread's network namespace, and gives the device its
// lengths; ENODEV if it was removed. Linux removes an interface in two steps, and reports that it is
// down before it is gone. But a program that is told of the first, such as libpcap, checks once whether
// its device still exists. So this waits for the second: ethtool's requests, which setLengths makes,
// acquire the lock that is held for both (rtnl_lock).
func (s *Source) current() (link, error) {
	l, err := lookUpIndex(s.index)
	if err != nil {
		return l, err
	}
	s.setLengths(&l)
	return lookUpIndex(s.index)
}

func (s *Source) setLengths(l *link) {
	n, err := l.lengths()
	if err != nil || n == s.lengths {
		return
	}
	s.lengths = n
	s.dev.SetMTU(n.mtu, n.maxLen) // an error means an MTU that no device has: the old one stays
}

// setUp sets the device up or down, which calls adjust. The device's sockets have received
// all earlier packets before it goes down.
func (s *Source) setUp(up bool) {
	if !up {
		settle(s.drains())
	}
	s.dev.SetUp(up)
}

// tidy closes a tap without readers, or one that has failed. again reports whether readers
// need a new one.
func (s *Source) tidy() (again bool) {
	s.mu.Lock()
	watched, err := s.dev.HasListeners(), s.tap.failed()
	if !watched || err != nil {
		s.closeTapLocked()
	}
	switch {
	case !watched:
		s.past.Err = nil
	case err != nil:
		s.past.Restarts++
		err = fmt.Errorf("iface: interface %s: %w", s.cfg.Name, err)
		s.past.Err = err
	}
	again = watched && s.past.Err != nil
	s.mu.Unlock()
	s.report(err)
	return again
}

// closeTapLocked closes the tap, if it is open.
func (s *Source) closeTapLocked() {
	s.out.withoutTap()
	for _, d := range s.tap.close() {
		d.addTo(&s.past)
	}
	s.open.Store(nil)
}

// end ends the Source for an error. Unless the Source is being closed, a device whose interface is gone
// is removed as well, in one step for its readers.
func (s *Source) end(why error) {
	s.mu.Lock()
	s.over = true
	closed := s.closed
	if !closed {
		s.gone = fmt.Errorf("iface: interface %s: %w", s.cfg.Name, why)
	}
	s.closeTapLocked()
	s.mu.Unlock()
	s.dev.OnInterestChange(nil)
	s.dev.SetBacklog(nil)
	if errors.Is(why, ErrGone) && !closed {
		s.dev.Namespace().RemoveDevice(s.dev) // an error means that it was removed before
	} else {
		s.dev.SetUp(false)
	}
	s.out.close()
}
