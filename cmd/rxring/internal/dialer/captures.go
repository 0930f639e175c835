package dialer

import (
	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
)

// Captures returns a function that opens captures on devices of another process.
func Captures(c *attach.Client) func(*rxring.Device, capture.Config) (*capture.Handle, error) {
	return func(d *rxring.Device, cfg capture.Config) (*capture.Handle, error) {
		return capture.OpenAttached(c, d.Name(), cfg)
	}
}
