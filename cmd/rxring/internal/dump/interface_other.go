//go:build !linux

package dump

import (
	"errors"
	"fmt"
)

// interfaceType is not available: packet sockets are Linux's.
func interfaceType(name string) (uint16, error) {
	return 0, fmt.Errorf("packet socket: %w", errors.ErrUnsupported)
}
