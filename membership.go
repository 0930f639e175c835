package rxring

import (
	"encoding/binary"
	"fmt"
	"slices"
	"syscall"
)

// mrPromisc is PACKET_MR_PROMISC, the mr_type that changes what a device hears.
// Linux accepts every other value too.
const mrPromisc = 1

// membership is one PACKET_ADD_MEMBERSHIP. It mirrors struct packet_mclist.
type membership struct {
	device *Device
	typ    uint16
	addr   [8]byte
	alen   uint16
}

func (m membership) join() {
	if m.typ == mrPromisc {
		m.device.promiscuous.Add(1)
	}
}

func (m membership) leave() {
	if m.typ == mrPromisc {
		m.device.promiscuous.Add(-1)
	}
}

func (s *Socket) setMembership(val []byte, add bool) error {
	const (
		sizeofMreq    = 16 // struct packet_mreq
		sizeofMreqMax = 40 // struct packet_mreq_max (net/packet/af_packet.c): up to MAX_ADDR_LEN bytes of address
		mreqAddress   = 8  // where it begins
	)
	op := "set PACKET_DROP_MEMBERSHIP"
	if add {
		op = "set PACKET_ADD_MEMBERSHIP"
	}
	if len(val) < sizeofMreq {
		return short(op, val, sizeofMreq)
	}
	if alen := int(binary.NativeEndian.Uint16(val[6:])); min(len(val), sizeofMreqMax) < mreqAddress+alen {
		return fmt.Errorf("%s: mr_alen %d in %d bytes: want at most %d: %w", op, alen, len(val), min(len(val), sizeofMreqMax)-mreqAddress, syscall.EINVAL)
	}
	ifindex := int32(binary.NativeEndian.Uint32(val))
	m := membership{
		typ:  binary.NativeEndian.Uint16(val[4:]),
		alen: binary.NativeEndian.Uint16(val[6:]),
		addr: [8]byte(val[8:16]),
	}
	return s.do(op, func() error {
		d, ok := s.ns.DeviceByIndex(int(ifindex))
		if !ok {
			if !add {
				return nil // Linux: nothing of that kind, nothing to drop
			}
			return fmt.Errorf("mr_ifindex %d: no such device: %w", ifindex, syscall.ENODEV)
		}
		m.device = d
		if !add {
			if i := slices.Index(s.memberships, m); i >= 0 {
				s.memberships = slices.Delete(s.memberships, i, i+1)
				m.leave()
			}
			return nil
		}
		if int(m.alen) > int(addrLen(d)) {
			return fmt.Errorf("mr_alen %d: want at most %d: %w", m.alen, addrLen(d), syscall.EINVAL)
		}
		s.memberships = append(s.memberships, m)
		m.join()
		return nil
	})
}

func addrLen(d *Device) uint8 {
	if d.typ == Ethernet {
		return 6
	}
	return 0
}
