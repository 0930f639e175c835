package iface

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/maxlen"
)

// tap is the set of kernel sockets that are open while the device has readers. Guarded by
// Source.mu.
type tap struct {
	drains []*drain                    // empty if it is not open
	joined map[capture.Membership]bool // memberships of the first socket
	filter []cbpf.Instruction          // run by the kernel; nil if there is none
}

func (t *tap) open() bool { return len(t.drains) > 0 }

// start opens the tap. The kernel's rings receive packets when it returns.
func (t *tap) start(dev *rxring.Device, cfg *Config, name string, filter []cbpf.Instruction, ended func()) error {
	longest, err := maxlen.Of(name) // now: it may have changed
	if err != nil {
		return err
	}
	c := cfg.capture(longest)
	c.Filter = filter
	// On lo each packet is seen outgoing and incoming. libpcap ignores the outgoing
	// ones, but recognizes lo by its name only.
	c.IgnoreOutgoing = dev.Type() == rxring.Loopback && dev.Name() != "lo"
	var fanout rxring.FanoutConfig
	if cfg.Fanout > 1 {
		fanout = rxring.FanoutConfig{Mode: cfg.FanoutMode, Flags: rxring.FanoutFlagUniqueID}
		c.Fanout = &fanout
	}
	var handles []*capture.Handle
	err = func() error {
		for i := range cfg.Fanout {
			h, err := capture.Open(name, c)
			if err != nil {
				return advise(err)
			}
			handles = append(handles, h)
			if i == 0 && c.Fanout != nil { // the others join it
				if fanout.ID, err = h.FanoutID(); err != nil {
					return err
				}
				fanout.Flags = 0
			}
		}
		return nil
	}()
	if err != nil {
		for _, h := range handles {
			h.Close()
		}
		return err
	}
	t.filter, t.joined = filter, make(map[capture.Membership]bool)
	for _, h := range handles {
		d := &drain{dev: dev, handle: h, queue: newQueue(cfg, c.Snaplen), done: make(chan struct{})}
		t.drains = append(t.drains, d)
		go d.run(ended)
	}
	return nil
}

// advise adds to EPERM how to grant the missing privilege.
func advise(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: be root, or give the program's file that capability, for a group of users alone, as dumpcap has it: chgrp GROUP FILE, chmod 0750 FILE, setcap cap_net_raw+ep FILE; in a container, start it with --cap-add=NET_RAW", err)
	}
	return err
}

// set applies the readers' memberships and filter to the open tap. After an error it applies
// the others.
func (t *tap) set(wanted map[capture.Membership]bool, filter []cbpf.Instruction) error {
	err := t.setFilter(filter)
	first := t.drains[0].handle
	for m := range t.joined {
		if !wanted[m] {
			first.Leave(m) // fails if the interface was removed
			delete(t.joined, m)
		}
	}
	for m := range wanted {
		if t.joined[m] {
			continue
		}
		if e := first.Join(m); e != nil {
			err = errors.Join(err, fmt.Errorf("membership of type %d, address % x: %w", m.Type, m.Addr, e))
			continue
		}
		t.joined[m] = true
	}
	return err
}

func (t *tap) setFilter(filter []cbpf.Instruction) error {
	if slices.Equal(filter, t.filter) {
		return nil
	}
	err := t.attach(filter)
	if err != nil && filter != nil { // such as ENOMEM for a long one: the readers' own filters remain
		filter, err = nil, t.attach(nil)
	}
	if err == nil {
		t.filter = filter
	}
	return err
}

func (t *tap) attach(filter []cbpf.Instruction) error {
	for _, d := range t.drains {
		if err := d.handle.SetFilter(filter); err != nil {
			return fmt.Errorf("filter: %w", err)
		}
	}
	return nil
}

// memberships returns those that the device's sockets need.
func memberships(dev *rxring.Device) map[capture.Membership]bool {
	ms := make(map[capture.Membership]bool)
	if dev.Promiscuous() {
		ms[capture.Membership{Type: capture.Promiscuous}] = true
	}
	if dev.AllMulticast() {
		ms[capture.Membership{Type: capture.AllMulticast}] = true
	}
	for _, a := range dev.RxFilterAddrs() {
		m := capture.Membership{Type: capture.Unicast, Addr: a}
		if a[0]&1 != 0 {
			m.Type = capture.Multicast
		}
		ms[m] = true
	}
	return ms
}

// failed returns the error that has ended a drain, nil while all run.
func (t *tap) failed() error {
	for _, d := range t.drains {
		select {
		case <-d.done:
			return d.err
		default:
		}
	}
	return nil
}

// close closes the tap, and returns its drains, for their statistics.
func (t *tap) close() (was []*drain) {
	was = t.drains
	t.attach(drop)
	settle(was)
	for _, d := range was {
		d.stop.Store(true) // all at once
	}
	for _, d := range was {
		d.close()
	}
	*t = tap{}
	return was
}

// tryOut checks that a tap can be opened: it opens one and closes it.
func (s *Source) tryOut(name string) error {
	var t tap
	if err := t.start(s.dev, &s.cfg, name, drop, func() {}); err != nil {
		return err
	}
	t.close()
	return nil
}

// drop is a filter that rejects every packet.
var drop = []cbpf.Instruction{{Op: cbpf.OpRetK}}
