package conformance

import (
	"strings"

	"github.com/rxring/rxring/tpacket"
)

// What rxring does not do yet, and scripts must not ask for.
const (
	hasMemberships = false // lengths of addresses are checked
)

// unserved says whether a step asks for what rxring does not do yet.
func unserved(o op, kernel *party) bool {
	switch o := o.(type) {
	case set:
		if name := optionName(o.level, o.name); !hasMemberships && strings.HasSuffix(name, "_MEMBERSHIP") {
			return true
		}
	case arrive:
		return fillsQueues(o, kernel)
	case leave:
		return fillsQueues(arrive(o), kernel)
	case store: // a block that the program has not been given: see differences
		s := kernel.sockets[o.s]
		return o.status != tpacket.StatusKernel && s != nil && s.ring != nil && s.ring.geo.Version == tpacket.V3
	}
	return false
}

// fillsQueues says whether a queue would get packets that do not lie in one
// page: how much of SO_RCVBUF those cost depends on the sender's buffers, see
// differences.
func fillsQueues(o arrive, kernel *party) bool {
	const page = 3500 // and headers
	for _, s := range kernel.sockets {
		if s != nil && s.socketSide.(*kernelSocket).ring == nil && o.packet.n > page {
			return true
		}
	}
	return false
}
