package rxring

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// Kinds of memberships: mr_type (linux/if_packet.h). Linux takes every other
// value, too, and does nothing for it.
const (
	mrMulticast = 0 // PACKET_MR_MULTICAST
	mrPromisc   = 1 // PACKET_MR_PROMISC
	mrAllmulti  = 2 // PACKET_MR_ALLMULTI
	mrUnicast   = 3 // PACKET_MR_UNICAST
)

// membership is what PACKET_ADD_MEMBERSHIP asks for. It mirrors struct
// packet_mreq_max (net/packet/af_packet.c).
type membership struct {
	ifindex int32
	typ     uint16
	alen    uint16
	addr    [maxAddrLen]byte // bytes past alen are 0
}

// joinedMembership is a membership of a socket's, that it has asked for count times. It
// mirrors struct packet_mclist.
type joinedMembership struct {
	membership
	device  *Device
	account *Account // that it is taken from, nil: none
	counted bool     // the device counts it: see Grant.NoPromiscuous
	count   int
}

const (
	maxAddrLen  = 32 // MAX_ADDR_LEN
	sizeofMreq  = 16 // struct packet_mreq, whose address has 8 bytes
	mreqAddress = 8  // where it begins

	// maxMemberships bounds a socket's; in Linux memory does.
	maxMemberships = 8192
)

// parseMreq reads a struct packet_mreq, or a longer one with a longer address.
func parseMreq(val []byte) (m membership, err error) {
	if len(val) < sizeofMreq {
		return m, short("struct packet_mreq", val, sizeofMreq)
	}
	val = val[:min(len(val), mreqAddress+maxAddrLen)]
	m.ifindex = int32(binary.NativeEndian.Uint32(val))
	m.typ = binary.NativeEndian.Uint16(val[4:])
	m.alen = binary.NativeEndian.Uint16(val[6:])
	addr := val[mreqAddress:]
	if int(m.alen) > len(addr) {
		return m, explain.Errorf(syscall.EINVAL, "mr_alen %d: want at most %d, which is what there is", m.alen, len(addr))
	}
	copy(m.addr[:], addr[:m.alen])
	return m, nil
}

func (s *Socket) setMembership(val []byte, add bool) error {
	op := "set PACKET_DROP_MEMBERSHIP"
	if add {
		op = "set PACKET_ADD_MEMBERSHIP"
	}
	m, err := parseMreq(val)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return s.do(op, func() error {
		if add {
			return s.ns.addMembership(s, m)
		}
		s.ns.dropMembership(s, m)
		return nil
	})
}

// addMembership is packet_mc_add.
func (ns *Namespace) addMembership(s *Socket, m membership) error {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	d, ok := ns.devices.byIndex[int(m.ifindex)]
	if !ok || !s.grant.allowsDevice(m.ifindex) {
		return explain.Errorf(syscall.ENODEV, "mr_ifindex %d: no such device", m.ifindex)
	}
	if most := addrLen(d); int(m.alen) > most {
		return explain.Errorf(syscall.EINVAL, "mr_alen %d: want at most %d", m.alen, most)
	}
	if i := s.membership(m); i >= 0 {
		s.memberships[i].count++
		return nil
	}
	if (m.typ == mrMulticast || m.typ == mrUnicast) && int(m.alen) != addrLen(d) {
		return explain.Errorf(syscall.EINVAL, "mr_alen %d: want %d", m.alen, addrLen(d))
	}
	if len(s.memberships) == maxMemberships {
		return explain.Errorf(syscall.ENOBUFS, "the socket has %d memberships: want at most so many", maxMemberships)
	}
	j := joinedMembership{membership: m, device: d, account: s.grant.account(), count: 1}
	if !j.account.acquireMembership() {
		return explain.Errorf(syscall.ENOBUFS, "the user's sockets have %d memberships together: want at most so many, or PACKET_MR_ALLMULTI for all groups", maxAccountMemberships)
	}
	if j.setCountedLocked(s.grant.allowsMembership(&m)) {
		d.publishRxFilterLocked()
	}
	s.memberships = append(s.memberships, j)
	d.countMemberLocked(s, 1)
	return nil
}

// setCountedLocked adds the membership to the device's receive filter, or removes it, and
// reports whether publishRxFilterLocked must follow.
func (j *joinedMembership) setCountedLocked(on bool) (changed bool) {
	if j.counted == on {
		return false
	}
	j.counted = on
	by := -1
	if on {
		by = 1
	}
	return j.device.addRefLocked(j.membership, by)
}

// dropMembership is packet_mc_drop: nothing to drop is no error.
func (ns *Namespace) dropMembership(s *Socket, m membership) {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	i := s.membership(m)
	if i < 0 {
		return
	}
	j := &s.memberships[i]
	if j.count--; j.count == 0 {
		if j.setCountedLocked(false) {
			j.device.publishRxFilterLocked()
		}
		j.account.releaseMembership()
		j.device.countMemberLocked(s, -1)
		s.memberships = slices.Delete(s.memberships, i, i+1)
	}
}

// countMemberLocked adds by to the number of the socket's memberships on d.
func (d *Device) countMemberLocked(s *Socket, by int) {
	if d.members == nil {
		d.members = make(map[*Socket]int)
	}
	if d.members[s] += by; d.members[s] == 0 {
		delete(d.members, s)
	}
}

// flushMembershipsLocked drops the memberships of s on the devices for which on is true.
func (ns *Namespace) flushMembershipsLocked(s *Socket, on func(*Device) bool) {
	if len(s.memberships) == 0 {
		return
	}
	changed := make(map[*Device]bool)
	s.memberships = slices.DeleteFunc(s.memberships, func(j joinedMembership) bool {
		if !on(j.device) {
			return false
		}
		if j.setCountedLocked(false) {
			changed[j.device] = true
		}
		j.account.releaseMembership()
		j.device.countMemberLocked(s, -1)
		return true
	})
	for d := range changed { // once: there may be thousands of memberships
		d.publishRxFilterLocked()
	}
}

// membership returns the index of m among the socket's memberships, -1 if it is not there.
func (s *Socket) membership(m membership) int {
	return slices.IndexFunc(s.memberships, func(j joinedMembership) bool { return j.membership == m })
}

// filterRefs counts a device's memberships: of all sockets, each different one of
// a socket's once.
type filterRefs struct {
	promiscuous, allmulti int
	unicast, multicast    map[[6]byte]int
}

// maxAddresses is how many addresses of a kind a device lists. Past it the device takes
// all packets to groups, or is promiscuous, as a card does whose filter is full.
const maxAddresses = 32

// rxFilter says which incoming packets a card in the device's place would accept. It is
// immutable.
type rxFilter struct {
	promiscuous, allmulti int // memberships

	manyUnicast, manyMulticast bool                 // more than maxAddresses of them
	addrs                      map[[6]byte]struct{} // beside its own and broadcast; without those that are many
}

func (h *rxFilter) acceptsAll() bool    { return h.promiscuous > 0 || h.manyUnicast }
func (h *rxFilter) acceptsGroups() bool { return h.allmulti > 0 || h.manyMulticast }

// sameInterest reports whether a source can ignore the change from h to o.
func (h *rxFilter) sameInterest(o *rxFilter) bool {
	return h.acceptsAll() == o.acceptsAll() && h.acceptsGroups() == o.acceptsGroups() && maps.Equal(h.addrs, o.addrs)
}

// addRefLocked is packet_dev_mc: it adds by, 1 or -1, to the references of m. If it reports
// true, publishRxFilterLocked must follow.
func (d *Device) addRefLocked(m membership, by int) (changed bool) {
	switch l := &d.refs; m.typ {
	case mrPromisc:
		l.promiscuous += by
	case mrAllmulti:
		l.allmulti += by
	case mrMulticast, mrUnicast:
		if l.unicast == nil {
			l.unicast, l.multicast = make(map[[6]byte]int), make(map[[6]byte]int)
		}
		addr, list := [6]byte(m.addr[:6]), l.unicast
		if addr[0]&1 != 0 {
			list = l.multicast
		}
		if list[addr] += by; list[addr] == 0 {
			delete(list, addr)
		}
	default:
		return false
	}
	return true
}

// publishRxFilterLocked publishes what addRefLocked has changed.
func (d *Device) publishRxFilterLocked() {
	l := &d.refs
	h := &rxFilter{
		promiscuous:   l.promiscuous,
		allmulti:      l.allmulti,
		manyUnicast:   len(l.unicast) > maxAddresses,
		manyMulticast: len(l.multicast) > maxAddresses,
		addrs:         make(map[[6]byte]struct{}),
	}
	for _, list := range []map[[6]byte]int{l.unicast, l.multicast} {
		if len(list) <= maxAddresses {
			for addr := range list {
				h.addrs[addr] = struct{}{}
			}
		}
	}
	if was := d.rxFilter.Swap(h); !was.sameInterest(h) {
		d.ns.mu.notifyLocked(d)
	}
}

// Promiscuous reports whether the device should accept packets to other hosts: a socket
// requested them (PACKET_MR_PROMISC), or sockets requested more than 32 unicast addresses.
func (d *Device) Promiscuous() bool { return d.rxFilter.Load().acceptsAll() }

// AllMulticast reports whether the device should accept all multicast packets: a socket
// requested them (PACKET_MR_ALLMULTI), or sockets requested more than 32 groups.
func (d *Device) AllMulticast() bool { return d.rxFilter.Load().acceptsGroups() }

// Memberships returns how many memberships of PACKET_MR_PROMISC and of PACKET_MR_ALLMULTI the
// device has: a link's IFLA_PROMISCUITY and IFLA_ALLMULTI.
func (d *Device) Memberships() (promiscuous, allMulticast int) {
	h := d.rxFilter.Load()
	return h.promiscuous, h.allmulti
}

// AcceptsDst reports whether a card in the device's place would accept a packet to dst from
// its wire: one to its own address, to the broadcast address, or to an address that a socket's
// membership requests. A raw-IP device accepts every packet, one that is down none.
func (d *Device) AcceptsDst(dst [6]byte) bool {
	if !d.up.Load() {
		return false
	}
	h := d.rxFilter.Load()
	if h.acceptsAll() || d.typ != Ethernet || dst == d.addr || dst == broadcast {
		return true
	}
	if h.acceptsGroups() && dst[0]&1 != 0 {
		return true
	}
	_, ok := h.addrs[dst]
	return ok
}

var broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// addrLen is dev->addr_len, in bytes.
func addrLen(d *Device) int {
	if d.ethernet() {
		return etherAddrLen
	}
	return 0
}

// RxFilterAddrs returns the addresses, beside the device's own and broadcast, that the
// sockets' memberships request (PACKET_MR_MULTICAST, PACKET_MR_UNICAST), in no order. There
// are at most 32 groups and 32 others: with more, AllMulticast or Promiscuous is true instead.
func (d *Device) RxFilterAddrs() [][6]byte { return slices.Collect(maps.Keys(d.rxFilter.Load().addrs)) }
