//go:build !linux

package iface

import (
	"errors"
	"fmt"

	"github.com/rxring/rxring"
)

// ErrGone is the error of a Source whose interface was removed.
var ErrGone = errors.New("the interface is gone")

// Source delivers the packets of an interface to a device. It needs Linux.
type Source struct{}

// Describe returns the configuration of a device that represents an interface. It needs Linux.
func Describe(name string) (rxring.DeviceConfig, error) {
	return rxring.DeviceConfig{}, fmt.Errorf("iface: interface %s: live capture needs Linux: %w", name, errors.ErrUnsupported)
}

// Start fails: live capture needs Linux.
func Start(dev *rxring.Device, cfg Config) (*Source, error) {
	if dev == nil {
		return nil, errors.New("iface: no device")
	}
	if err := cfg.check(dev); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("iface: interface %s: live capture needs Linux: %w", cfg.Name, errors.ErrUnsupported)
}

// Done returns a closed channel.
func (s *Source) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Err returns nil.
func (s *Source) Err() error { return nil }

// Stats returns no counts.
func (s *Source) Stats() Stats { return Stats{} }

// Close does nothing.
func (s *Source) Close() error { return nil }
