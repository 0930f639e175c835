//go:build linux

package netdev

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

const (
	SizeofIfreq = 40 // struct ifreq (linux/if.h), in bytes
	ifreqValue  = unix.IFNAMSIZ
)

// Ifreq mirrors struct ifreq: a device's name, and a value whose type depends on the
// request.
type Ifreq [SizeofIfreq]byte

// Name is the device's name as dev_ioctl reads it: without a last byte that is not NUL,
// and without an alias.
func (r *Ifreq) Name() string {
	name, _, _ := bytes.Cut(r[:unix.IFNAMSIZ-1], []byte{0})
	name, _, _ = bytes.Cut(name, []byte{':'})
	return string(name)
}

// Int32, Uint16 and Pointer are the value: an index, flags (ifr_flags), or ifr_data.
func (r *Ifreq) Int32() int32    { return int32(binary.NativeEndian.Uint32(r[ifreqValue:])) }
func (r *Ifreq) Uint16() uint16  { return binary.NativeEndian.Uint16(r[ifreqValue:]) }
func (r *Ifreq) Pointer() uint64 { return binary.NativeEndian.Uint64(r[ifreqValue:]) }

func (r *Ifreq) setInt32(v int32)   { binary.NativeEndian.PutUint32(r[ifreqValue:], uint32(v)) }
func (r *Ifreq) setUint16(v uint16) { binary.NativeEndian.PutUint16(r[ifreqValue:], v) }

// Set sets what request cmd asks for of a device with the IFF_* flags flags, and leaves
// the rest.
func (r *Ifreq) Set(cmd uint32, d *rxring.Device, flags uint32) {
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
		r.setInt32(int32(TxQueueLen(d)))
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

// SetAddress sets an IPv4 address of a device, or what belongs to it, as devinet_ioctl
// does: of the address whose label and number the request has, or else of the first one
// with that label.
func (r *Ifreq) SetAddress(cmd uint32, d *rxring.Device) unix.Errno {
	label, _, _ := bytes.Cut(r[:unix.IFNAMSIZ-1], []byte{0})
	all := Addresses(d, true)
	if string(label) != d.Name() || len(all) == 0 {
		return unix.EADDRNOTAVAIL
	}
	asked := sockaddrIn(r[ifreqValue:])
	a := all[max(0, slices.IndexFunc(all, func(a Address) bool { return a.Addr() == asked }))]
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

// Ifconf is the answer to SIOCGIFCONF: a struct ifreq for each IPv4 address.
func Ifconf(devices []*rxring.Device) (list []byte) {
	for _, d := range devices {
		for _, a := range Addresses(d, true) {
			var r Ifreq
			copy(r[:unix.IFNAMSIZ-1], d.Name())
			r.setUint16(unix.AF_INET)
			addr := a.Addr().As4()
			copy(r[ifreqValue+4:], addr[:])
			list = append(list, r[:]...)
		}
	}
	return list
}
