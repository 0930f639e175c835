//go:build linux && (amd64 || arm64)

package interpose

import (
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
)

// setRTNLOption serves setsockopt. Options of SOL_SOCKET that we do not serve take effect
// on the program's end, where the kernel sets them.
func (c *call) setRTNLOption(r *rtnlSocket) reply {
	level, name := int(c.int(1)), int(c.int(2))
	val, err := c.optionValue()
	if err != nil {
		return result(err)
	}
	if level == unix.SOL_SOCKET && name == unix.SO_ATTACH_FILTER {
		return c.attachRTNLFilter(r, val)
	}
	if !c.valid() {
		return native
	}
	switch level {
	case unix.SOL_NETLINK:
		return result(r.nl.Setsockopt(name, val))
	case unix.SOL_SOCKET:
	default:
		return fail(unix.ENOPROTOOPT)
	}
	switch name {
	case unix.SO_ATTACH_BPF:
		return fail(unix.EOPNOTSUPP) // only the kernel runs eBPF
	case unix.SO_DETACH_FILTER:
		return result(r.nl.DetachFilter())
	case unix.SO_RCVBUF, unix.SO_RCVBUFFORCE:
		if len(val) >= 4 {
			r.nl.SetReceiveBuffer(2 * int(min(native32(val), math.MaxInt32)))
		}
	case unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW:
		if d, ok := parseTimeval(val); ok {
			r.timeout = d
		}
	}
	return native
}

func (c *call) attachRTNLFilter(r *rtnlSocket, val []byte) reply {
	prog, err := c.program(val)
	if err != nil {
		return result(err)
	}
	f, err := cbpf.Compile(prog)
	if err == nil && c.valid() {
		r.nl.AttachFilter(f)
	}
	return result(err)
}

// getRTNLOption serves getsockopt.
func (c *call) getRTNLOption(r *rtnlSocket) reply {
	level, name := int(c.int(1)), int(c.int(2))
	if level == unix.SOL_SOCKET && !slices.Contains(rtnlOptions, name) {
		return native
	}
	n, err := c.optionRoom()
	if err != nil {
		return result(err)
	}
	if !c.valid() {
		return native
	}
	val := make([]byte, min(n, maxOption))
	var filled int
	switch level {
	case unix.SOL_NETLINK:
		if filled, err = r.nl.Getsockopt(name, val); err != nil {
			return result(err)
		}
	case unix.SOL_SOCKET:
		filled = copy(val, bytes32(r.option(name)))
		if name == unix.SO_ERROR {
			r.unstage(c.tid, c.int(0)) // the error may have been staged
			r.stage()
		}
	default:
		return fail(unix.ENOPROTOOPT)
	}
	return c.finish(piece{c.Args[3], val[:min(filled, len(val))]}, piece{c.Args[4], bytes32(uint32(filled))})
}

// rtnlOptions are those at SOL_SOCKET that differ from those of the program's end.
var rtnlOptions = []int{unix.SO_TYPE, unix.SO_DOMAIN, unix.SO_PROTOCOL, unix.SO_ERROR}

func (r *rtnlSocket) option(name int) uint32 {
	switch name {
	case unix.SO_TYPE:
		return uint32(r.nl.Type())
	case unix.SO_DOMAIN:
		return unix.AF_NETLINK
	case unix.SO_PROTOCOL:
		return unix.NETLINK_ROUTE
	}
	if err := r.nl.Error(); err != nil {
		return uint32(errnoOf(err))
	}
	return 0
}
