//go:build linux && (amd64 || arm64)

package interpose

import (
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
	"github.com/rxring/rxring/tpacket"
)

// flags is a device's IFF_* flags, as the program sees them: IFF_PROMISC is what
// it set by SIOCSIFFLAGS, not what sockets ask for.
func (s *session) flags(d *rxring.Device) uint32 {
	f := netdev.Flags(d)
	if s.ears[d] != nil {
		f |= unix.IFF_PROMISC
	}
	return f
}

// setFlags has a device hear packets to others, or not (IFF_PROMISC), as sniffers
// do. To set one up or down is its owner's.
func (s *session) setFlags(d *rxring.Device, to uint16) error {
	if (uint32(to)^s.flags(d))&unix.IFF_UP != 0 {
		return unix.EPERM
	}
	ear := s.ears[d]
	switch {
	case to&unix.IFF_PROMISC == 0:
		if ear != nil {
			delete(s.ears, d)
			ear.Close()
		}
		return nil
	case ear != nil:
		return nil
	}
	ear, err := s.open(rxring.SockRaw, 0)
	if err != nil {
		return err
	}
	mreq := append(bytes32(uint32(d.Index())), bytes64(unix.PACKET_MR_PROMISC)...) // struct packet_mreq
	if err := ear.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, append(mreq, 0, 0, 0, 0)); err != nil {
		ear.Close()
		return err
	}
	s.ears[d] = ear
	return nil
}
