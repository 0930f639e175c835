package conformance

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/tpacket"
)

// machineAdmin says whether this process has CAP_NET_ADMIN outside of all user
// namespaces, which Linux wants for some options. rxring grants them to all.
var machineAdmin = sync.OnceValue(func() bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4096) == nil
})

// unserved says whether a step asks for what is known to differ: see differences.
func unserved(o op, kernel *party) bool {
	switch o := o.(type) {
	case set:
		if o.level == unix.SOL_SOCKET && (o.name == unix.SO_BUSY_POLL || o.name == unix.SO_PREFER_BUSY_POLL) {
			return !machineAdmin()
		}
	case fails:
		return unserved(o.op, kernel)
	case arrive:
		return fillsQueues(o, false, kernel)
	case leave:
		return fillsQueues(arrive(o), true, kernel)
	case send:
		return o.fillsQueues(kernel) || o.isEmpty(kernel)
	case fill:
		return o.overwritesQueued(kernel)
	case recv: // a packet without a byte: see differences
		s := kernel.sockets[o.s]
		if s == nil || o.flags&unix.MSG_PEEK == 0 {
			return false
		}
		now := s.state()
		return now.InqErrno == 0 && now.Inq == 0
	case store: // a block that the program has not been given: see differences
		s := kernel.sockets[o.s]
		return o.status != tpacket.StatusKernel && s != nil && s.ring != nil && s.ring.geo.Version == tpacket.V3
	}
	return false
}

// unattached is unserved for sockets of another process, which do not have
// CAP_NET_ADMIN there: see rxring.Grant.
func unattached(o op, kernel *party) bool {
	switch o := o.(type) {
	case fails:
		return unattached(o.op, kernel)
	case set:
		if o.level == unix.SOL_SOCKET && (o.name == unix.SO_RCVBUFFORCE || o.name == unix.SO_SNDBUFFORCE) {
			return true
		}
	}
	return unserved(o, kernel)
}

// uninterposed is unserved for a program under rxring run.
func uninterposed(o op, kernel *party) bool {
	switch o := o.(type) {
	case fails:
		return uninterposed(o.op, kernel)
	case read: // with a ring, an error pending, or no room for a vnet header it differs: see docs/interpose.md
		s := kernel.sockets[o.s]
		if s == nil {
			return false
		}
		k := s.socketSide.(*kernelSocket)
		ready, err := k.poll()
		return err != nil || ready&unix.POLLERR != 0 || k.ring != nil || o.room < int(k.int(unix.PACKET_VNET_HDR_SZ))
	}
	return unserved(o, kernel)
}

// fillsQueues says whether a queue may run full with packets whose cost depends
// on the sender's buffers: those that do not lie in one page, of which a TAP
// device puts the headers of a large segment apart, those of a TUN device, and those
// that a program sends. See differences.
func fillsQueues(o arrive, sent bool, kernel *party) bool {
	const (
		page     = 3500 // and headers
		overhead = 2500 // and room that goes to waste
	)
	for _, s := range kernel.sockets {
		if s == nil {
			continue
		}
		k := s.socketSide.(*kernelSocket)
		if k.ring != nil && k.int(unix.PACKET_COPY_THRESH) == 0 {
			continue
		}
		k.sentTo = k.sentTo || sent || o.dev == tun0 || o.packet.load != offload{}
		held, limit := k.queue()
		if o.packet.n > page || k.sentTo && held+o.times*(o.packet.n+overhead) > limit {
			return true
		}
	}
	return false
}
