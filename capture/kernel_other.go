//go:build !linux

package capture

import (
	"errors"
	"fmt"
)

// Open captures the packets of a live interface. It needs Linux.
func Open(name string, _ Config) (*Handle, error) {
	return nil, fmt.Errorf("capture: interface %s: live capture needs Linux: %w", name, errors.ErrUnsupported)
}
