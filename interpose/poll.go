//go:build linux && (amd64 || arm64)

package interpose

// poll makes every packet socket's stand-in as readable as its ring is and lets
// the kernel run the call: timeouts, signal masks, other descriptors in the
// same set and the ways to be interrupted are all its own. Which descriptors
// the call waits for need not be known, for an epoll set they could not be.
func (c *call) poll() reply {
	for _, k := range c.s.sockets {
		k.refresh()
	}
	return reply{}
}
