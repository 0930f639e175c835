//go:build linux && (amd64 || arm64)

package interpose

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// ioctls that x/sys does not name (linux/sockios.h, linux/wireless.h).
const (
	siocgiwname   = 0x8b01 // SIOCGIWNAME
	siocgiwmode   = 0x8b07 // SIOCGIWMODE
	siocgiwrange  = 0x8b0b // SIOCGIWRANGE
	siocgiwpriv   = 0x8b0d // SIOCGIWPRIV
	siocbondquery = 0x8994 // SIOCBONDINFOQUERY
	siocgstamp    = 0x8906 // SIOCGSTAMP_OLD
	siocgstampns  = 0x8907 // SIOCGSTAMPNS_OLD
	siocinq       = 0x541b // SIOCINQ, which is FIONREAD
)

// Requests about a device, whose argument is a struct ifreq, by what they get.
var (
	answeredIoctls = []uint32{
		unix.SIOCGIFNAME, unix.SIOCGIFINDEX, unix.SIOCGIFHWADDR, unix.SIOCGIFMTU, unix.SIOCGIFFLAGS,
		unix.SIOCGIFTXQLEN, unix.SIOCGIFMETRIC, unix.SIOCGIFMAP, unix.SIOCETHTOOL, unix.SIOCSIFFLAGS,
	}
	// The device has no IPv4 address.
	addressIoctls = []uint32{unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR, unix.SIOCGIFBRDADDR, unix.SIOCGIFNETMASK}
	// The namespace's owner sets devices up, not the program.
	refusedIoctls = []uint32{unix.SIOCSIFMTU, unix.SIOCSIFHWADDR, unix.SIOCSIFTXQLEN, unix.SIOCSIFNAME}
	// Not that kind of device.
	foreignIoctls = []uint32{
		unix.SIOCGHWTSTAMP, unix.SIOCSHWTSTAMP, unix.SIOCGMIIPHY, unix.SIOCGMIIREG, siocbondquery,
		siocgiwname, siocgiwmode, siocgiwrange, siocgiwpriv,
	}
	// About the socket's queue.
	queueIoctls = []uint32{siocgstamp, siocgstampns, siocinq}
)

func ioctls() []uint32 {
	return slices.Concat(answeredIoctls, addressIoctls, refusedIoctls, foreignIoctls, queueIoctls)
}

const (
	sizeofIfreq = 40 // struct ifreq (linux/if.h)
	ifreqValue  = unix.IFNAMSIZ
)

// ifreq is a request's memory: a name, and a value whose type depends on the
// request.
type ifreq [sizeofIfreq]byte

// name is the device's, as dev_ioctl reads it: a last byte that is not NUL and
// an alias are cut off.
func (r *ifreq) name() string {
	name, _, _ := bytes.Cut(r[:unix.IFNAMSIZ-1], []byte{0})
	name, _, _ = bytes.Cut(name, []byte{':'})
	return string(name)
}

func (r *ifreq) int32() int32       { return int32(native32(r[ifreqValue:])) }
func (r *ifreq) setInt32(v int32)   { binary.NativeEndian.PutUint32(r[ifreqValue:], uint32(v)) }
func (r *ifreq) setUint16(v uint16) { binary.NativeEndian.PutUint16(r[ifreqValue:], v) }

// pointer is ifr_data.
func (r *ifreq) pointer() uint64 { return binary.NativeEndian.Uint64(r[ifreqValue:]) }

// ioctl serves requests about devices. On a packet socket of ours there are
// only the namespace's devices; any other socket sees those beside the
// system's.
func (c *call) ioctl() reply {
	fd, cmd := c.int(0), uint32(c.Args[1])
	k, ours := c.socket(fd)
	if slices.Contains(queueIoctls, cmd) {
		if ours && c.valid() {
			return result(c.queueIoctl(k, cmd))
		}
		return reply{}
	}
	if !ours {
		if _, ok := c.inode(); !ok {
			return reply{}
		}
	}
	var r ifreq
	if err := c.read(c.Args[2], r[:]); err != nil {
		if k == nil {
			return reply{} // the kernel knows its errno
		}
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
		return reply{}
	case cmd == unix.SIOCGIFNAME:
		c.s.missingIndex(r.int32())
	case cmd != unix.SIOCGIFINDEX || r.name() != "lo":
		// libpcap asks for lo's index whatever it is told to capture on.
		c.s.addMissing(r.name())
	}
	return reply{kind: value, err: unix.ENODEV}
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
		return reply{kind: value, err: unix.EADDRNOTAVAIL}
	case slices.Contains(refusedIoctls, cmd):
		return reply{kind: value, err: unix.EPERM}
	case slices.Contains(foreignIoctls, cmd):
		return reply{kind: value, err: unix.EOPNOTSUPP}
	case cmd == unix.SIOCETHTOOL:
		return result(c.ethtool(r.pointer()))
	case cmd == unix.SIOCSIFFLAGS:
		return result(c.s.setFlags(d, native16(r[ifreqValue:])))
	}
	r.fill(cmd, d)
	return result(c.write(c.Args[2], r[:]))
}

// setFlags has a device hear packets to others, or not (IFF_PROMISC), as sniffers
// do. To set one up or down is its owner's.
func (s *session) setFlags(d *rxring.Device, to uint16) error {
	if (to^flags(d))&unix.IFF_UP != 0 {
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
	ear, err := s.ns.Socket(rxring.SockRaw, 0)
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

// fill puts the answer to a request in its place.
func (r *ifreq) fill(cmd uint32, d *rxring.Device) {
	clear(r[ifreqValue:])
	switch cmd {
	case unix.SIOCGIFNAME:
		clear(r[:])
		copy(r[:unix.IFNAMSIZ-1], d.Name())
		r.setInt32(int32(d.Index()))
	case unix.SIOCGIFINDEX:
		r.setInt32(int32(d.Index()))
	case unix.SIOCGIFMTU:
		r.setInt32(int32(d.MTU()))
	case unix.SIOCGIFFLAGS:
		r.setUint16(flags(d))
	case unix.SIOCGIFTXQLEN:
		r.setInt32(txQueueLen)
	case unix.SIOCGIFHWADDR: // struct sockaddr
		r.setUint16(uint16(d.Type()))
		if d.Type() == rxring.Ethernet {
			addr := d.Addr()
			copy(r[ifreqValue+2:], addr[:])
		}
	}
}

const txQueueLen = 1000 // DEFAULT_TX_QUEUE_LEN (linux/netdevice.h)

func flags(d *rxring.Device) uint16 {
	f := uint16(unix.IFF_MULTICAST)
	if d.Up() {
		f |= unix.IFF_UP | unix.IFF_RUNNING
	}
	if d.Type() == rxring.Ethernet {
		f |= unix.IFF_BROADCAST
	} else {
		f |= unix.IFF_POINTOPOINT | unix.IFF_NOARP
	}
	if d.Promiscuous() {
		f |= unix.IFF_PROMISC
	}
	if d.AllMulticast() {
		f |= unix.IFF_ALLMULTI
	}
	return f
}

// maxMissing bounds the list: the program chooses what goes in.
const maxMissing = 16

func (s *session) addMissing(name string) {
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
