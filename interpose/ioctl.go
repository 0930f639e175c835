//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
	"github.com/rxring/rxring/interpose/internal/procfs"
	"github.com/rxring/rxring/tpacket"
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

// Requests about devices, by their answer. Those with a device's name have it in a
// struct ifreq.
var (
	answeredIoctls = []uint32{
		unix.SIOCGIFNAME, unix.SIOCGIFINDEX, unix.SIOCGIFHWADDR, unix.SIOCGIFMTU, unix.SIOCGIFFLAGS,
		unix.SIOCGIFTXQLEN, unix.SIOCGIFMETRIC, unix.SIOCGIFMAP, unix.SIOCETHTOOL, unix.SIOCSIFFLAGS,
	}
	// IPv4's.
	addressIoctls = []uint32{unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR, unix.SIOCGIFBRDADDR, unix.SIOCGIFNETMASK}
	// Refused to a program without privileges: the namespace's owner sets up devices.
	refusedIoctls = []uint32{
		siocsifmetric, unix.SIOCSIFMTU, unix.SIOCSIFNAME, unix.SIOCSIFHWADDR, unix.SIOCSIFSLAVE,
		unix.SIOCADDMULTI, unix.SIOCDELMULTI, siocsifhwbcast, unix.SIOCSIFTXQLEN, unix.SIOCSIFMAP,
		unix.SIOCSIFADDR, unix.SIOCSIFDSTADDR, unix.SIOCSIFBRDADDR, unix.SIOCSIFNETMASK, unix.SIOCDIFADDR,
		unix.SIOCGMIIPHY, unix.SIOCGMIIREG, unix.SIOCSMIIREG, unix.SIOCSHWTSTAMP,
		siocbondenslave, siocbondrelease, siocbondsethw, siocbondactive,
		unix.SIOCBRADDBR, unix.SIOCBRDELBR, unix.SIOCBRADDIF, unix.SIOCBRDELIF,
	}
	// For other kinds of devices.
	foreignIoctls = []uint32{unix.SIOCGHWTSTAMP, siocwandev, siocbondslave, siocbondquery}
	// Without a device's name, answered as without the module for them.
	bridgeIoctls = []uint32{unix.SIOCGIFBR, unix.SIOCSIFBR}
	vlanIoctls   = []uint32{siocgifvlan, siocsifvlan}
	// About a packet socket's queue.
	queueIoctls = []uint32{siocgstamp, siocgstampns, siocinq}
)

// ioctl serves requests about devices, on every kind of socket: the namespace's devices
// exist, and no others.
func (c *call) ioctl() reply {
	cmd := uint32(c.Args[1])
	if slices.Contains(queueIoctls, cmd) {
		if c.packet == nil {
			return native
		}
		return result(c.queueIoctl(c.packet, cmd))
	}
	if !aboutDevices(cmd) || !c.isSocket(c.int(0)) {
		return native
	}
	switch {
	case slices.Contains(refusedIoctls, cmd):
		return fail(unix.EPERM)
	case slices.Contains(bridgeIoctls, cmd):
		return fail(unix.EOPNOTSUPP)
	case slices.Contains(vlanIoctls, cmd):
		return fail(unix.ENOPKG)
	case slices.Contains(addressIoctls, cmd) && c.packet == nil && !c.isInternet(c.int(0)):
		return fail(unix.ENOTTY)
	case cmd == unix.SIOCGIFCONF:
		return c.ifconf()
	}
	var r netdev.Ifreq
	if err := c.read(c.Args[2], r[:]); err != nil {
		return result(err)
	}
	if !c.valid() {
		return native
	}
	d, ok := c.device(cmd, &r)
	switch {
	case ok:
		return c.deviceIoctl(cmd, &r, d)
	case c.packet == nil:
	case cmd == unix.SIOCGIFNAME:
		c.s.missingIndex(r.Int32())
	case cmd != unix.SIOCGIFINDEX || r.Name() != "lo":
		// libpcap asks for lo's index whatever device it is told to capture on.
		c.s.addMissing(r.Name())
	}
	return fail(unix.ENODEV)
}

// aboutDevices reports whether a request is about devices, or could be.
func aboutDevices(cmd uint32) bool {
	for _, those := range [][]uint32{answeredIoctls, addressIoctls, refusedIoctls, foreignIoctls, bridgeIoctls, vlanIoctls} {
		if slices.Contains(those, cmd) {
			return true
		}
	}
	private := cmd >= siocdevprivate && cmd < siocdevprivate+siocdevprivates
	wireless := cmd&ioctlGroupMask == siociwfirst
	return cmd == unix.SIOCGIFCONF || cmd == unix.SIOCGIFSLAVE || private || wireless
}

// isSocket reports whether a descriptor is a socket, as far as we may know.
func (c *call) isSocket(fd int32) bool {
	d, err := c.descriptor(fd)
	return err == nil && (d.inode != 0 || d.ringOf != nil) || err == errNotOurs
}

// isInternet reports whether a socket is one on which IPv4's requests can be made.
func (c *call) isInternet(fd int32) bool {
	f, err := procfs.Duplicate(c.tid, fd)
	if procfs.Denied(err) {
		return true // most are
	}
	if err != nil {
		return false
	}
	defer unix.Close(f)
	domain, err := unix.GetsockoptInt(f, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_INET
}

// queueIoctl returns how long the first packet in the queue is (packet_ioctl), or the
// time stamp of the packet that was received last (sock_gettstamp).
func (c *call) queueIoctl(p *packetSocket, cmd uint32) error {
	if cmd == siocinq {
		return c.write(c.Args[2], bytes32(uint32(p.backend.QueuedBytes())))
	}
	if p.stamp == 0 {
		return unix.ENOENT
	}
	part := p.stamp % 1e9
	if cmd == siocgstamp {
		part /= 1e3
	}
	return c.write(c.Args[2], append(bytes64(uint64(p.stamp/1e9)), bytes64(uint64(part))...))
}

func (c *call) device(cmd uint32, r *netdev.Ifreq) (*rxring.Device, bool) {
	if cmd == unix.SIOCGIFNAME {
		return c.s.ns.DeviceByIndex(int(r.Int32()))
	}
	return c.s.ns.DeviceByName(r.Name())
}

// deviceIoctl answers a request about one of the namespace's devices.
func (c *call) deviceIoctl(cmd uint32, r *netdev.Ifreq, d *rxring.Device) reply {
	switch {
	case slices.Contains(addressIoctls, cmd):
		if errno := r.SetAddress(cmd, d); errno != 0 {
			return fail(errno)
		}
		return result(c.write(c.Args[2], r[:]))
	case cmd == unix.SIOCGIFSLAVE:
		return fail(unix.EINVAL)
	case cmd == unix.SIOCETHTOOL:
		return result(c.ethtool(d, r.Pointer()))
	case cmd == unix.SIOCSIFFLAGS:
		return result(c.s.setFlags(d, r.Uint16()))
	case slices.Contains(answeredIoctls, cmd):
		r.Set(cmd, d, c.s.flags(d))
		return result(c.write(c.Args[2], r[:]))
	}
	return fail(unix.EOPNOTSUPP)
}

// ethtool serves SIOCETHTOOL, whose request is at addr.
func (c *call) ethtool(d *rxring.Device, addr uint64) error {
	cmd, err := c.readUint32(addr)
	if err != nil {
		return err
	}
	req := bytes32(cmd)
	if cmd == unix.ETHTOOL_GLINKSETTINGS {
		req = make([]byte, netdev.SizeofLinkSettings)
		if err := c.read(addr, req); err != nil {
			return err
		}
	}
	b, err := netdev.Ethtool(d, req)
	if err != nil {
		return err
	}
	return c.write(addr, b)
}

// ifconf serves SIOCGIFCONF: a struct ifreq for each IPv4 address, as many as the struct
// ifconf has room for; without a buffer, the room that they need.
func (c *call) ifconf() reply {
	const sizeofIfconf = 16 // int ifc_len, padding, pointer
	var conf [sizeofIfconf]byte
	if err := c.read(c.Args[2], conf[:]); err != nil {
		return result(err)
	}
	room, buf := int(int32(native32(conf[:]))), binary.NativeEndian.Uint64(conf[8:])
	list := netdev.Ifconf(netdev.All(c.s.ns))
	if buf == 0 {
		return result(c.write(c.Args[2], bytes32(uint32(len(list)))))
	}
	list = list[:min(len(list), max(room, 0)/netdev.SizeofIfreq*netdev.SizeofIfreq)]
	return c.finish(piece{buf, list}, piece{c.Args[2], bytes32(uint32(len(list)))})
}

// flags is a device's IFF_* flags as the program sees them: IFF_PROMISC is set if the
// program set it by SIOCSIFFLAGS, whatever sockets ask for.
func (s *session) flags(d *rxring.Device) uint32 {
	f := netdev.Flags(d)
	if s.sockets.promisc[d] != nil {
		f |= unix.IFF_PROMISC
	}
	return f
}

// setFlags makes a device promiscuous, or not (IFF_PROMISC), as sniffers do. Only its
// owner sets a device up or down.
func (s *session) setFlags(d *rxring.Device, to uint16) error {
	if (uint32(to)^s.flags(d))&unix.IFF_UP != 0 {
		return unix.EPERM
	}
	promisc := s.sockets.promisc
	rx := promisc[d]
	switch {
	case to&unix.IFF_PROMISC == 0:
		if rx != nil {
			delete(promisc, d)
			rx.Close()
			s.rtnl.bus.FlagsChanged()
		}
		return nil
	case rx != nil:
		return nil
	}
	rx, err := s.openBackend(rxring.SockRaw, 0)
	if err != nil {
		return err
	}
	mreq := append(bytes32(uint32(d.Index())), bytes64(unix.PACKET_MR_PROMISC)...) // struct packet_mreq
	if err := rx.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, append(mreq, 0, 0, 0, 0)); err != nil {
		rx.Close()
		return err
	}
	promisc[d] = rx
	s.rtnl.bus.FlagsChanged()
	return nil
}
