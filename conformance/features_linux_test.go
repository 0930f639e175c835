package conformance

import (
	"strings"

	"github.com/rxring/rxring/tpacket"
)

// What rxring does not do yet, and scripts must not ask for.
const (
	hasQueue       = false // packets in a socket's queue: sockets without a ring
	hasMemberships = false // lengths of addresses are checked
)

// unserved says whether a step asks for what rxring does not do yet.
func unserved(o op, kernel *party) bool {
	switch o := o.(type) {
	case set:
		if name := optionName(o.level, o.name); !hasMemberships && strings.HasSuffix(name, "_MEMBERSHIP") {
			return true
		}
	case store: // a block that the program has not been given: see differences
		s := kernel.sockets[o.s]
		return o.status != tpacket.StatusKernel && s != nil && s.ring != nil && s.ring.geo.Version == tpacket.V3
	case arrive, leave:
		for _, s := range kernel.sockets {
			if s != nil && s.socketSide.(*kernelSocket).ring == nil && !hasQueue {
				return true
			}
		}
	}
	return false
}
