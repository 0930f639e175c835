//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// ioctls that x/sys does not name (linux/sockios.h).
const (
	siocgstamp      = 0x8906 // SIOCGSTAMP_OLD
	siocgstampns    = 0x8907 // SIOCGSTAMPNS_OLD
	siocsifmetric   = 0x891e // SIOCSIFMETRIC
	siocsifhwbcast  = 0x8937 // SIOCSIFHWBROADCAST
	siocgifvlan     = 0x8982 // SIOCGIFVLAN
	siocsifvlan     = 0x8983 // SIOCSIFVLAN
	siocbondenslave = 0x8990 // SIOCBONDENSLAVE
	siocbondrelease = 0x8991 // SIOCBONDRELEASE
	siocbondsethw   = 0x8992 // SIOCBONDSETHWADDR
	siocbondslave   = 0x8993 // SIOCBONDSLAVEINFOQUERY
	siocbondquery   = 0x8994 // SIOCBONDINFOQUERY
	siocwandev      = 0x894a // SIOCWANDEV
	siocbondactive  = 0x8995 // SIOCBONDCHANGEACTIVE
	siocinq         = 0x541b // SIOCINQ, which is FIONREAD
	siocdevprivate  = 0x89f0 // SIOCDEVPRIVATE, and 15 more
	siocdevprivates = 16
	siociwfirst     = 0x8b00 // SIOCIWFIRST (linux/wireless.h)
	ioctlGroup      = 0x8900 // of requests to sockets
	ioctlGroupMask  = ^uint32(0xff)
)

// Requests about devices, by what they get. Those with a name have it in a struct
// ifreq.
var (
	answeredIoctls = []uint32{
		unix.SIOCGIFNAME, unix.SIOCGIFINDEX, unix.SIOCGIFHWADDR, unix.SIOCGIFMTU, unix.SIOCGIFFLAGS,
		unix.SIOCGIFTXQLEN, unix.SIOCGIFMETRIC, unix.SIOCGIFMAP, unix.SIOCETHTOOL, unix.SIOCSIFFLAGS,
	}
	// IPv4's.
	addressIoctls = []uint32{unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR, unix.SIOCGIFBRDADDR, unix.SIOCGIFNETMASK}
	// Not for a program without privileges: the namespace's owner sets devices up.
	refusedIoctls = []uint32{
		siocsifmetric, unix.SIOCSIFMTU, unix.SIOCSIFNAME, unix.SIOCSIFHWADDR, unix.SIOCSIFSLAVE,
		unix.SIOCADDMULTI, unix.SIOCDELMULTI, siocsifhwbcast, unix.SIOCSIFTXQLEN, unix.SIOCSIFMAP,
		unix.SIOCSIFADDR, unix.SIOCSIFDSTADDR, unix.SIOCSIFBRDADDR, unix.SIOCSIFNETMASK, unix.SIOCDIFADDR,
		unix.SIOCGMIIPHY, unix.SIOCGMIIREG, unix.SIOCSMIIREG, unix.SIOCSHWTSTAMP,
		siocbondenslave, siocbondrelease, siocbondsethw, siocbondactive,
		unix.SIOCBRADDBR, unix.SIOCBRDELBR, unix.SIOCBRADDIF, unix.SIOCBRDELIF,
	}
	// Of another kind of device.
	foreignIoctls = []uint32{unix.SIOCGHWTSTAMP, siocwandev, siocbondslave, siocbondquery}
	// About devices, with no name of one: as without the module for them.
	bridgeIoctls = []uint32{unix.SIOCGIFBR, unix.SIOCSIFBR}
	vlanIoctls   = []uint32{siocgifvlan, siocsifvlan}
	// About the socket's queue.
	queueIoctls = []uint32{siocgstamp, siocgstampns, siocinq}
)

// ioctlRules traps what is asked of sockets: whether it is about devices is
// decided here, so that nothing of that kind is forgotten.
func ioctlRules() []rule {
	return []rule{
		{nr: unix.SYS_IOCTL, all: []condition{{1, ioctlGroupMask, []uint32{ioctlGroup, siociwfirst}}}},
		{nr: unix.SYS_IOCTL, all: []condition{{1, 0, []uint32{siocinq}}}},
	}
}

// ioctl serves requests about devices, on every kind of socket: there are the
// namespace's, and no others.
func (c *call) ioctl() reply {
	fd, cmd := c.int(0), uint32(c.Args[1])
	if !aboutDevices(cmd) && !slices.Contains(queueIoctls, cmd) {
		return reply{}
	}
	k, ours := c.socket(fd)
	if slices.Contains(queueIoctls, cmd) {
		if ours && c.valid() {
			return result(c.queueIoctl(k, cmd))
		}
		return reply{}
	}
	if _, ok := c.inode(); !ok {
		return reply{} // no socket
	}
	err := unix.Errno(0)
	switch {
	case slices.Contains(refusedIoctls, cmd):
		err = unix.EPERM
	case slices.Contains(bridgeIoctls, cmd):
		err = unix.EOPNOTSUPP
	case slices.Contains(vlanIoctls, cmd):
		err = unix.ENOPKG
	case slices.Contains(addressIoctls, cmd) && !ours && !c.internet(fd):
		err = unix.ENOTTY
	}
	if err != 0 {
		if !c.valid() {
			return reply{}
		}
		return reply{kind: value, err: err}
	}
	if cmd == unix.SIOCGIFCONF {
		return c.ifconf()
	}
	var r ifreq
	if err := c.read(c.Args[2], r[:]); err != nil {
		return result(err)
	}
	if !c.valid() {
		return reply{}
	}
	d, ok := c.device(cmd, &r)
	switch {
	case ok:
		return c.deviceIoctl(cmd, &r, d)
	case !ours:
	case cmd == unix.SIOCGIFNAME:
		c.s.missingIndex(r.int32())
	case cmd != unix.SIOCGIFINDEX || r.name() != "lo":
		// libpcap asks for lo's index whatever it is told to capture on.
		c.s.addMissing(r.name())
	}
	return reply{kind: value, err: unix.ENODEV}
}

// aboutDevices says whether a request is about devices, or could be.
func aboutDevices(cmd uint32) bool {
	for _, those := range [][]uint32{answeredIoctls, addressIoctls, refusedIoctls, foreignIoctls, bridgeIoctls, vlanIoctls} {
		if slices.Contains(those, cmd) {
			return true
		}
	}
	return cmd == unix.SIOCGIFCONF || cmd == unix.SIOCGIFSLAVE || private(cmd) || wireless(cmd)
}

func private(cmd uint32) bool  { return cmd >= siocdevprivate && cmd < siocdevprivate+siocdevprivates }
func wireless(cmd uint32) bool { return cmd&ioctlGroupMask == siociwfirst }

// internet says whether a socket is one that IPv4's requests can be made on.
func (c *call) internet(fd int32) bool {
	f, err := duplicate(c.tid, fd)
	if denied(err) {
		return true // most are
	}
	if err != nil {
		return false
	}
	defer unix.Close(f)
	domain, err := unix.GetsockoptInt(f, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_INET
}

// queueIoctl tells how long the first packet in the queue is (packet_ioctl), or
// when the one that was received last had passed (sock_gettstamp).
func (c *call) queueIoctl(k *socket, cmd uint32) error {
	if cmd == siocinq {
		return c.write(c.Args[2], bytes32(uint32(k.rx.QueuedBytes())))
	}
	if k.stamp == 0 {
		return unix.ENOENT
	}
	part := k.stamp % 1e9
	if cmd == siocgstamp {
		part /= 1e3
	}
	return c.write(c.Args[2], append(bytes64(uint64(k.stamp/1e9)), bytes64(uint64(part))...))
}

func (c *call) device(cmd uint32, r *ifreq) (*rxring.Device, bool) {
	if cmd == unix.SIOCGIFNAME {
		return c.s.ns.DeviceByIndex(int(r.int32()))
	}
	return c.s.ns.DeviceByName(r.name())
}

// deviceIoctl answers a request about one of the namespace's devices.
func (c *call) deviceIoctl(cmd uint32, r *ifreq, d *rxring.Device) reply {
	switch {
	case slices.Contains(addressIoctls, cmd):
		if err := r.address(cmd, d); err != 0 {
			return reply{kind: value, err: err}
		}
		return result(c.write(c.Args[2], r[:]))
	case cmd == unix.SIOCGIFSLAVE:
		return reply{kind: value, err: unix.EINVAL}
	case cmd == unix.SIOCETHTOOL:
		return result(c.ethtool(d, r.pointer()))
	case cmd == unix.SIOCSIFFLAGS:
		return result(c.s.setFlags(d, native16(r[ifreqValue:])))
	case slices.Contains(answeredIoctls, cmd):
		r.fill(cmd, d, c.s.flags(d))
		return result(c.write(c.Args[2], r[:]))
	}
	return reply{kind: value, err: unix.EOPNOTSUPP}
}

// maxMissing bounds the list: the program chooses what goes in.
const maxMissing = 16

func (s *session) addMissing(name string) {
	if s.detached() {
		return // it was there
	}
	// A name is the program's bytes, on their way to a terminal.
	name = strings.ToValidUTF8(name, "?")
	if name != "" && len(s.missing) < maxMissing && !slices.Contains(s.missing, name) {
		s.missing = append(s.missing, name)
	}
}

func (s *session) missingIndex(index int32) {
	if index > 0 {
		s.addMissing(fmt.Sprintf("index %d", index))
	}
}
