//go:build !linux

package capture

import (
	"errors"
	"fmt"

	"github.com/rxring/rxring/attach"
)

// OpenAttached captures the packets of a device of another process's namespace. It
// needs Linux.
func OpenAttached(_ *attach.Client, device string, _ Config) (*Handle, error) {
	return nil, fmt.Errorf("capture: device %s: a ring of another process needs Linux: %w", device, errors.ErrUnsupported)
}
