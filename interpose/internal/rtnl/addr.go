//go:build linux

package rtnl

import (
	"encoding/binary"
	"math"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// linux/if_addr.h
const (
	ifaProto        = 11 // IFA_PROTO
	ifaprotKernelLo = 1  // IFAPROT_KERNEL_LO
)

// Lengths of ifa_ipv4_policy (net/ipv4/devinet.c) and ifa_ipv6_policy
// (net/ipv6/addrconf.c).
var (
	addr4Policy = policy{ifaProto, map[uint16]length{
		unix.IFA_ADDRESS: {least: 4}, unix.IFA_LOCAL: {least: 4}, unix.IFA_BROADCAST: {least: 4},
		unix.IFA_LABEL:     {least: 1, text: unix.IFNAMSIZ - 1},
		unix.IFA_CACHEINFO: {least: unix.SizeofIfaCacheinfo}, unix.IFA_FLAGS: {least: 4},
		unix.IFA_RT_PRIORITY: {least: 4}, unix.IFA_TARGET_NETNSID: {least: 4}, ifaProto: {least: 1},
	}}
	addr6Policy = policy{ifaProto, map[uint16]length{
		unix.IFA_ADDRESS: {least: 16}, unix.IFA_LOCAL: {least: 16},
		unix.IFA_CACHEINFO: {least: unix.SizeofIfaCacheinfo}, unix.IFA_FLAGS: {least: 4},
		unix.IFA_RT_PRIORITY: {least: 4}, unix.IFA_TARGET_NETNSID: {least: 4}, ifaProto: {least: 1},
	}}
)

// dumpAddrs makes the list that RTM_GETADDR asks for: first the IPv4 addresses
// of all devices, as inet_dump_ifaddr does, then the IPv6 ones.
func (s *Socket) dumpAddrs(d *dump, r request) {
	d.typ, d.together = unix.RTM_NEWADDR, r.body[0] == unix.AF_INET6
	devices := netdev.All(s.bus.ns)
	if s.option[unix.NETLINK_GET_STRICT_CHK] {
		index, errno := strictAddrs(r.body)
		if index != 0 {
			d.flags |= unix.NLM_F_DUMP_FILTERED
			d.doneFlags = d.flags
		}
		if d.errno = errno; errno != 0 {
			return
		}
		if index != 0 {
			devices = slices.DeleteFunc(devices, func(dev *rxring.Device) bool { return dev.Index() != index })
			if len(devices) == 0 {
				d.errno = syscall.ENODEV
			}
		}
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if only := r.body[0]; (only == unix.AF_INET || only == unix.AF_INET6) && only != family {
			continue
		}
		for _, dev := range devices {
			for _, a := range netdev.Addresses(dev, family == unix.AF_INET) {
				d.items = append(d.items, func(h header) []byte { return addrMessage(dev, a, h) })
			}
		}
	}
}

// strictAddrs checks a struct ifaddrmsg and returns the index of the device
// whose addresses it asks for, 0 for all.
func strictAddrs(b []byte) (index int, errno syscall.Errno) {
	if len(b) < unix.SizeofIfAddrmsg || b[1] != 0 || b[2] != 0 || b[3] != 0 {
		return 0, syscall.EINVAL
	}
	index = int(int32(native32(b[4:])))
	policy := &addr4Policy
	if b[0] == unix.AF_INET6 {
		policy = &addr6Policy
	}
	found, errno := policy.parse(b[unix.SizeofIfAddrmsg:], true, unix.IFA_TARGET_NETNSID)
	if errno == 0 && len(found) > 0 {
		errno = syscall.EINVAL // there is no other namespace
	}
	return index, errno
}

// addrMessage lays out the struct ifaddrmsg and the attributes of a device's
// address, in the order of inet_fill_ifaddr (net/ipv4/devinet.c) and
// inet6_fill_ifaddr (net/ipv6/addrconf.c).
func addrMessage(d *rxring.Device, addr netdev.Address, h header) []byte {
	family, flags := uint8(unix.AF_INET6), uint32(unix.IFA_F_PERMANENT)
	ip := addr.Addr()
	if ip.Is4() {
		family = unix.AF_INET
	}
	if addr.Secondary {
		flags |= unix.IFA_F_SECONDARY
	}
	msg := []byte{family, uint8(addr.Bits()), uint8(flags), addr.Scope}
	msg = binary.NativeEndian.AppendUint32(msg, uint32(d.Index()))

	cache := make([]byte, unix.SizeofIfaCacheinfo) // made and changed when the system started
	binary.NativeEndian.PutUint32(cache, math.MaxUint32)
	binary.NativeEndian.PutUint32(cache[4:], math.MaxUint32)

	var a attrs
	a.bytes(unix.IFA_ADDRESS, ip.AsSlice())
	if ip.Is4() {
		a.bytes(unix.IFA_LOCAL, ip.AsSlice())
		a.string(unix.IFA_LABEL, d.Name())
		a.uint32(unix.IFA_FLAGS, flags)
		a.bytes(unix.IFA_CACHEINFO, cache)
	} else {
		a.bytes(unix.IFA_CACHEINFO, cache)
		a.uint32(unix.IFA_FLAGS, flags)
		if d.Type() == rxring.Loopback && ip.IsLoopback() {
			a.uint8(ifaProto, ifaprotKernelLo)
		}
	}
	return message(h, msg, a)
}
