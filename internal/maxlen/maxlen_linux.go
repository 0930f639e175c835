package maxlen

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Lengths in bytes (linux/netdevice.h).
const (
	legacyGSOMaxSize = 1 << 16 // GSO_LEGACY_MAX_SIZE, if the kernel reports no limit
	gsoMaxSize       = 8 << 16 // GSO_MAX_SIZE
)

// ethFlagLRO is ETH_FLAG_LRO (linux/ethtool.h).
const ethFlagLRO = 1 << 15

// Of returns the length of the longest packet that a packet socket receives on an
// interface, in bytes without the link-layer header. The errno is ENODEV if there is no
// such interface.
func Of(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // ioctls on interfaces work on any socket
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	mtu, err := ifreq(fd, name, unix.SIOCGIFMTU)
	if err != nil {
		return 0, err
	}
	// Segmentation offloads of sent packets, and merging of received ones.
	sends, err := anyOn(fd, name, unix.ETHTOOL_GTSO, unix.ETHTOOL_GGSO, unix.ETHTOOL_GUFO)
	if err != nil {
		return 0, err
	}
	merges, err := anyOn(fd, name, unix.ETHTOOL_GGRO, unix.ETHTOOL_GFLAGS)
	if err != nil {
		return 0, err
	}
	if !sends && !merges {
		return mtu, nil
	}
	index, err := ifreq(fd, name, unix.SIOCGIFINDEX)
	if err != nil {
		return 0, err
	}
	gso, gro, err := sizes(int32(index))
	if err != nil {
		return 0, err
	}
	longest := mtu
	if sends {
		longest = max(longest, gso)
	}
	if merges {
		longest = max(longest, gro)
	}
	return min(longest, gsoMaxSize), nil
}

// ifreq queries a number of an interface by ioctl. An invalid name is EINVAL.
func ifreq(fd int, name string, request uint) (int, error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("want a name of 1 to %d bytes: %w", unix.IFNAMSIZ-1, err)
	}
	err = unix.IoctlIfreq(fd, request, r)
	return int(r.Uint32()), err
}

// anyOn reports whether one of the offloads is on. One that the kernel or the driver does
// not implement is off.
func anyOn(fd int, name string, commands ...uint32) (bool, error) {
	for _, cmd := range commands {
		v, err := ethtool(fd, name, cmd)
		switch {
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
			continue
		case err != nil:
			return false, err
		case cmd == unix.ETHTOOL_GFLAGS:
			v &= ethFlagLRO
		}
		if v != 0 {
			return true, nil
		}
	}
	return false, nil
}

// ethtool queries a number by SIOCETHTOOL.
func ethtool(fd int, name string, cmd uint32) (uint32, error) {
	value := [2]uint32{cmd} // struct ethtool_value
	var r struct {          // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}
	copy(r.name[:unix.IFNAMSIZ-1], name)
	r.data = unsafe.Pointer(&value)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return 0, fmt.Errorf("SIOCETHTOOL: %w", errno)
	}
	return value[1], nil
}

// sizes returns the lengths of the longest segments that are sent (gso) and merged on
// receipt (gro), the larger of IPv6's and IPv4's.
func sizes(index int32) (gso, gro int, err error) {
	b, err := syscall.NetlinkRIB(unix.RTM_GETLINK, unix.AF_UNSPEC)
	if err != nil {
		return 0, 0, fmt.Errorf("RTM_GETLINK: %w", err)
	}
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return 0, 0, fmt.Errorf("RTM_GETLINK: %w", err)
	}
	for i := range msgs {
		m := &msgs[i]
		if m.Header.Type != unix.RTM_NEWLINK || int32(binary.NativeEndian.Uint32(m.Data[4:])) != index {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return 0, 0, fmt.Errorf("RTM_NEWLINK: %w", err)
		}
		for _, a := range attrs {
			if len(a.Value) < 4 {
				continue
			}
			n := int(binary.NativeEndian.Uint32(a.Value))
			switch a.Attr.Type {
			case unix.IFLA_GSO_MAX_SIZE, unix.IFLA_GSO_IPV4_MAX_SIZE:
				gso = max(gso, n)
			case unix.IFLA_GRO_MAX_SIZE, unix.IFLA_GRO_IPV4_MAX_SIZE:
				gro = max(gro, n)
			}
		}
	}
	return cmp.Or(gso, legacyGSOMaxSize), cmp.Or(gro, legacyGSOMaxSize), nil
}
