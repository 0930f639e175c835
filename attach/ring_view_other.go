//go:build !linux

package attach

import (
	"errors"

	"github.com/rxring/rxring/tpacket"
)

// ringView is a mapping of a ring: see ring_view_linux.go.
type ringView struct{}

func newRingView(int, int, tpacket.Geometry) (*ringView, error) { return nil, errors.ErrUnsupported }

func (*ringView) isEmpty() bool { return false }

func (*ringView) isReadable() bool { return false }

func (*ringView) close() {}
