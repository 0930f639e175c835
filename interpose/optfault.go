//go:build linux && (amd64 || arm64)

package interpose

import (
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// setFault is the errno of setting an option to n bytes that cannot be read. Linux
// checks the option, and mostly the length, before it reads them: packet_setsockopt
// (net/packet/af_packet.c), sk_setsockopt (net/core/sock.c).
func (k *socket) setFault(level, name, n int) unix.Errno {
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
		return fault(n >= 4 && k.report.Type == rxring.SockRaw)
	case tpacket.OptFanout:
		return fault(n == 4 || n == 8) // an int, or a struct fanout_args
	case tpacket.OptFanoutData:
		return fault(n == sizeofFprog && k.grouped)
	case tpacket.OptCopyThresh, tpacket.OptVersion, tpacket.OptReserve, tpacket.OptLoss, tpacket.OptTimestamp,
		tpacket.OptTxHasOff, tpacket.OptQdiscBypass, tpacket.OptIgnoreOutgoing:
		return fault(n == 4)
	}
	return unix.ENOPROTOOPT
}
