//go:build linux && (amd64 || arm64)

package interpose

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

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

// fill puts the answer to a request in its place, and leaves the rest.
func (r *ifreq) fill(cmd uint32, d *rxring.Device, flags uint32) {
	switch cmd {
	case unix.SIOCGIFNAME:
		copy(r[:], d.Name()+"\x00")
	case unix.SIOCGIFMETRIC:
		r.setInt32(0)
	case unix.SIOCGIFMAP:
		const ifmap = 21 // bytes of struct ifmap's fields
		clear(r[ifreqValue : ifreqValue+ifmap])
	case unix.SIOCGIFINDEX:
		r.setInt32(int32(d.Index()))
	case unix.SIOCGIFMTU:
		r.setInt32(int32(d.MTU()))
	case unix.SIOCGIFFLAGS:
		r.setUint16(uint16(flags))
	case unix.SIOCGIFTXQLEN:
		r.setInt32(int32(netdev.TxQueueLen(d)))
	case unix.SIOCGIFHWADDR: // struct sockaddr
		r.setUint16(uint16(d.Type()))
		if d.Type().Ethernet() {
			addr := d.HardwareAddr()
			copy(r[ifreqValue+2:], addr[:])
		} else {
			clear(r[ifreqValue+2 : ifreqValue+16])
		}
	}
}

// address puts an IPv4 address of a device, or what belongs to it, in its place,
// as devinet_ioctl does: of that address whose label and number the request has,
// or else whose label.
func (r *ifreq) address(cmd uint32, d *rxring.Device) unix.Errno {
	label, _, _ := bytes.Cut(r[:unix.IFNAMSIZ-1], []byte{0})
	all := netdev.Addresses(d, true)
	if string(label) != d.Name() || len(all) == 0 {
		return unix.EADDRNOTAVAIL
	}
	asked := sockaddrIn(r[ifreqValue:])
	a := all[max(0, slices.IndexFunc(all, func(a netdev.Address) bool { return a.Addr() == asked }))]
	var answer [4]byte
	switch cmd {
	case unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR:
		answer = a.Addr().As4()
	case unix.SIOCGIFNETMASK:
		copy(answer[:], net.CIDRMask(a.Bits(), 32))
	} // no broadcast address is set
	clear(r[ifreqValue : ifreqValue+sizeofSockaddrIn])
	r.setUint16(unix.AF_INET)
	copy(r[ifreqValue+4:], answer[:])
	return 0
}

const sizeofSockaddrIn = 16 // struct sockaddr_in

// sockaddrIn is the address in a struct sockaddr_in, the zero Addr when it is of
// another family.
func sockaddrIn(b []byte) netip.Addr {
	if binary.NativeEndian.Uint16(b) != unix.AF_INET {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(b[4:8]))
}

// ifconf serves SIOCGIFCONF: a struct ifreq for each IPv4 address, as many as the
// struct ifconf has room for; without a buffer, how much room they need.
func (c *call) ifconf() reply {
	const sizeofIfconf = 16 // int ifc_len, padding, pointer
	var conf [sizeofIfconf]byte
	if err := c.read(c.Args[2], conf[:]); err != nil {
		return result(err)
	}
	if !c.valid() {
		return reply{}
	}
	room, buf := int(int32(native32(conf[:]))), binary.NativeEndian.Uint64(conf[8:])
	list := addressList(netdev.All(c.s.ns))
	if buf != 0 {
		list = list[:min(len(list), max(room, 0)/sizeofIfreq*sizeofIfreq)]
		if err := c.write(buf, list); err != nil {
			return result(err)
		}
	}
	return result(c.write(c.Args[2], bytes32(uint32(len(list)))))
}

func addressList(devices []*rxring.Device) (list []byte) {
	for _, d := range devices {
		for _, a := range netdev.Addresses(d, true) {
			var r ifreq
			copy(r[:unix.IFNAMSIZ-1], d.Name())
			r.setUint16(unix.AF_INET)
			addr := a.Addr().As4()
			copy(r[ifreqValue+4:], addr[:])
			list = append(list, r[:]...)
		}
	}
	return list
}
