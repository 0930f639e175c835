//go:build !linux

package iface

import (
	"errors"
	"fmt"

	"github.com/rxring/rxring"
)

// ErrGone is why a Source ends by itself.
var ErrGone = errors.New("the interface is gone")

// Source delivers what passes an interface to a device. It needs Linux.
type Source struct{}

// Describe is the configuration of a device that stands for an interface. It needs
// Linux.
func Describe(name string) (rxring.DeviceConfig, error) {
	return rxring.DeviceConfig{}, fmt.Errorf("iface: interface %s: live capture needs Linux: %w", name, errors.ErrUnsupported)
}

// Start delivers what passes an interface. It needs Linux.
func Start(dev *rxring.Device, cfg Config) (*Source, error) {
	if dev == nil {
		return nil, errors.New("iface: no device")
	}
	if err := cfg.check(dev); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("iface: interface %s: live capture needs Linux: %w", cfg.Name, errors.ErrUnsupported)
}

// Done is closed: nothing is delivered.
func (s *Source) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// Err is nil.
func (s *Source) Err() error { return nil }

// Stats are none.
func (s *Source) Stats() Stats { return Stats{} }

// Close does nothing.
func (s *Source) Close() error { return nil }
