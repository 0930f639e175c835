//go:build linux && (amd64 || arm64)

package interpose

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// maxOption bounds the bytes that are read, or offered, for an option's value: no
// option has more.
const maxOption = 4096

// optionValue reads setsockopt's value.
func (c *call) optionValue() ([]byte, error) {
	n := c.int(4)
	if n < 0 {
		return nil, unix.EINVAL
	}
	val := make([]byte, min(n, maxOption))
	return val, c.read(c.Args[3], val)
}

// optionRoom reads how much room getsockopt has for the value.
func (c *call) optionRoom() (int32, error) {
	room, err := c.readUint32(c.Args[4])
	if err == nil && int32(room) < 0 {
		err = unix.EINVAL
	}
	return int32(room), err
}

// setsockopt serves setsockopt.
func (c *call) setsockopt(p *packetSocket) reply {
	level, name := int(c.int(1)), int(c.int(2))
	val, err := c.optionValue()
	if err != nil {
		if errnoOf(err) == unix.EFAULT {
			err = p.setFault(level, name, int(c.int(4)))
		}
		return result(err)
	}
	switch { // these read more of the program's memory
	case level == unix.SOL_SOCKET && name == unix.SO_ATTACH_FILTER:
		return c.attachFilter(p, val)
	case level == tpacket.SolPacket && name == tpacket.OptFanoutData:
		return c.setFanoutData(p, val)
	}
	if !c.valid() {
		return native
	}
	switch {
	case level == unix.SOL_SOCKET && name == unix.SO_ATTACH_BPF:
		return fail(unix.EOPNOTSUPP) // only the kernel runs eBPF
	case level == tpacket.SolPacket && (name == tpacket.OptRxRing || name == tpacket.OptTxRing):
		return c.setRing(p, name, val)
	case level == tpacket.SolPacket && name == tpacket.OptFanout:
		err := p.backend.Setsockopt(level, name, val)
		if err != nil && c.s.closeUnheld() { // closed sockets may have been the group
			err = p.backend.Setsockopt(level, name, val)
		}
		p.grouped = p.grouped || err == nil
		return result(err)
	}
	err = p.backend.Setsockopt(level, name, val)
	switch {
	case err != nil && errnoOf(err) == unix.ENODEV && name == unix.SO_BINDTODEVICE:
		name, _, _ := strings.Cut(string(val), "\x00")
		c.s.addMissing(name)
	case err == nil && level == unix.SOL_SOCKET && slices.Contains(timeoutOptions, name):
		p.setTimeout(name, val)
	case err == nil && level == tpacket.SolPacket && (name == tpacket.OptVnetHdr || name == tpacket.OptVnetHdrSz):
		if p.staged { // the staged packet gets the header, or loses it
			p.unstage()
			p.stage()
		}
	}
	return orStandIns(level, err)
}

// orStandIns is the result of getting or setting an option. Options of sockets in
// general that the namespace does not have take effect on the stand-in.
func orStandIns(level int, err error) reply {
	if level == unix.SOL_SOCKET && err != nil && errnoOf(err) == unix.ENOPROTOOPT {
		return native
	}
	return result(err)
}

var timeoutOptions = []int{unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW}

// setTimeout sets SO_RCVTIMEO, for receive calls, which wait here, and for read, which
// waits for the stand-in in the kernel.
func (p *packetSocket) setTimeout(name int, val []byte) {
	if d, ok := parseTimeval(val); ok {
		p.timeout = d
	}
	if err := unix.SetsockoptString(p.standIn, unix.SOL_SOCKET, name, string(val)); err != nil {
		p.s.warnf("packet socket: SO_RCVTIMEO: %v: read waits without a time-out", err)
	}
}

// setRing serves PACKET_RX_RING and PACKET_TX_RING.
func (c *call) setRing(p *packetSocket, name int, val []byte) reply {
	p.unstage()
	defer p.refresh() // from now on a packet wakes those that poll already
	err := p.backend.Setsockopt(tpacket.SolPacket, name, val)
	if err != nil && errnoOf(err) == unix.ENOMEM && c.s.closeUnheld() {
		err = p.backend.Setsockopt(tpacket.SolPacket, name, val)
	}
	if err != nil {
		if errnoOf(err) == unix.ENOMEM && !p.noRing {
			p.noRing = true // once: libpcap tries many times, with less
			c.s.warnf("packet socket: %v", err)
		}
		return result(err)
	}
	if name == tpacket.OptTxRing {
		p.sends = p.backend.HasTxRing()
	} else {
		var g tpacket.Geometry
		if g, p.ringed = p.backend.Geometry(); p.ringed {
			p.report.HadRing, p.report.Geometry = true, g
		}
		p.staged = false // no packet stays in the queue
		c.s.pairs.rearm(p.waker.end, p.watched())
	}
	if !p.errorShown { // the stand-in's error is the program's
		p.backend.Disarm(&p.waker)
		p.drain(drainAll)
		p.waker.takeQueued()
	}
	return value(0)
}

// getsockopt serves getsockopt.
func (c *call) getsockopt(p *packetSocket) reply {
	n, err := c.optionRoom()
	if err != nil {
		return result(err)
	}
	level, name := int(c.int(1)), int(c.int(2))
	if level == unix.SOL_SOCKET && name == unix.SO_ATTACH_FILTER { // SO_GET_FILTER
		return c.getFilter(p, int(n))
	}
	buf := make([]byte, min(n, maxOption))
	if level == tpacket.SolPacket && name == tpacket.OptHdrlen && n >= 4 {
		// The one option whose value is also an argument.
		if err := c.read(c.Args[3], buf[:4]); err != nil {
			return result(err)
		}
	}
	if !c.valid() {
		return native
	}
	filled, err := p.backend.Getsockopt(level, name, buf)
	if level == unix.SOL_SOCKET && name == unix.SO_ERROR {
		p.refresh() // it has none any more
	}
	if err != nil {
		return orStandIns(level, err)
	}
	length, val := piece{c.Args[4], bytes32(uint32(filled))}, piece{c.Args[3], buf[:filled]}
	if level == unix.SOL_SOCKET {
		return c.finish(val, length) // in Linux's order, which shows if the value cannot be written
	}
	return c.finish(length, val)
}

// setFault is the errno of setting an option to n bytes that cannot be read. Linux
// checks the option, and mostly the length, before it reads them: packet_setsockopt
// (net/packet/af_packet.c), sk_setsockopt (net/core/sock.c).
func (p *packetSocket) setFault(level, name, n int) unix.Errno {
	fault := func(checked bool) unix.Errno {
		if checked {
			return unix.EFAULT
		}
		return unix.EINVAL
	}
	if level == unix.SOL_SOCKET {
		return fault(n >= 4 || name == unix.SO_BINDTODEVICE)
	}
	switch name {
	case tpacket.OptAddMembership, tpacket.OptDropMembership:
		return fault(n >= 16) // struct packet_mreq
	case tpacket.OptRxRing, tpacket.OptTxRing:
		return unix.EINVAL // whatever the length
	case tpacket.OptAuxdata, tpacket.OptOrigdev:
		return fault(n >= 4)
	case tpacket.OptVnetHdr, tpacket.OptVnetHdrSz:
		return fault(n >= 4 && p.report.Type == rxring.SockRaw)
	case tpacket.OptFanout:
		return fault(n == 4 || n == 8) // an int, or a struct fanout_args
	case tpacket.OptFanoutData:
		return fault(n == sizeofFprog && p.grouped)
	case tpacket.OptCopyThresh, tpacket.OptVersion, tpacket.OptReserve, tpacket.OptLoss, tpacket.OptTimestamp,
		tpacket.OptTxHasOff, tpacket.OptQdiscBypass, tpacket.OptIgnoreOutgoing:
		return fault(n == 4)
	}
	return unix.ENOPROTOOPT
}
