//go:build linux

package netdev

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// unprivilegedEthtool are the commands that need no CAP_NET_ADMIN (dev_ethtool in
// net/ethtool/ioctl.c).
var unprivilegedEthtool = []uint32{
	unix.ETHTOOL_GSET, unix.ETHTOOL_GDRVINFO, unix.ETHTOOL_GMSGLVL, unix.ETHTOOL_GLINK, unix.ETHTOOL_GCOALESCE,
	unix.ETHTOOL_GRINGPARAM, unix.ETHTOOL_GPAUSEPARAM, unix.ETHTOOL_GRXCSUM, unix.ETHTOOL_GTXCSUM, unix.ETHTOOL_GSG,
	unix.ETHTOOL_GSTRINGS, unix.ETHTOOL_GSTATS, unix.ETHTOOL_GTSO, unix.ETHTOOL_GPERMADDR, unix.ETHTOOL_GUFO,
	unix.ETHTOOL_GGSO, unix.ETHTOOL_GFLAGS, unix.ETHTOOL_GPFLAGS, unix.ETHTOOL_GRXFH, unix.ETHTOOL_GGRO,
	unix.ETHTOOL_GRXRINGS, unix.ETHTOOL_GRXCLSRLCNT, unix.ETHTOOL_GRXCLSRULE, unix.ETHTOOL_GRXCLSRLALL,
	unix.ETHTOOL_GSSET_INFO, unix.ETHTOOL_GRXFHINDIR, unix.ETHTOOL_GFEATURES, unix.ETHTOOL_GCHANNELS,
	unix.ETHTOOL_GET_TS_INFO, unix.ETHTOOL_GEEE, unix.ETHTOOL_GRSSH, unix.ETHTOOL_GTUNABLE, unix.ETHTOOL_GPHYSTATS,
	unix.ETHTOOL_GLINKSETTINGS, unix.ETHTOOL_PHY_GTUNABLE, unix.ETHTOOL_GFECPARAM,
}

// SizeofLinkSettings is the size of struct ethtool_link_settings (linux/ethtool.h)
// without its masks, in bytes.
const SizeofLinkSettings = 48

// Ethtool is the struct that the kernel returns to an ethtool command (SIOCETHTOOL) for a
// TAP or TUN device, with offloads on if the device carries segments. req is the
// command, and for ETHTOOL_GLINKSETTINGS the rest of the request.
//
// libpcap asks about offloads: without them it sizes the frames of a V2 ring on Ethernet
// by the MTU, otherwise for 65535 bytes (iface_get_offload and create_ring in its
// pcap-linux.c).
func Ethtool(d *rxring.Device, req []byte) ([]byte, error) {
	const (
		// A TAP device says 10 Gbit/s, but there is no such limit here, and
		// programs size rings by it.
		speed, duplex = 0xffffffff, 0xff // SPEED_UNKNOWN, DUPLEX_UNKNOWN

		// SOF_TIMESTAMPING_TX_SOFTWARE, _RX_SOFTWARE and _SOFTWARE
		// (linux/net_tstamp.h).
		softwareTimestamps = 1<<1 | 1<<3 | 1<<4
		txVLAN             = 1 << 7 // ETH_FLAG_TXVLAN
	)
	cmd := binary.NativeEndian.Uint32(req)
	b := binary.NativeEndian.AppendUint32(nil, cmd)
	word := func(v uint32) ([]byte, error) { return binary.NativeEndian.AppendUint32(b, v), nil } // struct ethtool_value
	switch cmd {
	case unix.ETHTOOL_GTSO, unix.ETHTOOL_GGSO, unix.ETHTOOL_GGRO:
		if !d.Segments() {
			return word(0)
		}
		return word(1)
	case unix.ETHTOOL_GSG, unix.ETHTOOL_GTXCSUM, unix.ETHTOOL_GLINK:
		return word(1)
	case unix.ETHTOOL_GRXCSUM, unix.ETHTOOL_GMSGLVL:
		return word(0)
	case unix.ETHTOOL_GFLAGS:
		return word(txVLAN)
	case unix.ETHTOOL_GDRVINFO: // struct ethtool_drvinfo
		b = append(b, make([]byte, 192)...)
		copy(b[4:], "rxring")
		if bus := b[100:]; d.Type() == rxring.Ethernet {
			copy(bus, "tap")
		} else {
			copy(bus, "tun")
		}
		return b, nil
	case unix.ETHTOOL_GSET: // struct ethtool_cmd
		b = append(b, make([]byte, 40)...)
		binary.NativeEndian.PutUint16(b[12:], speed&0xffff)
		binary.NativeEndian.PutUint16(b[28:], speed>>16)
		b[14] = duplex
		return b, nil
	case unix.ETHTOOL_GLINKSETTINGS:
		const words, at = 4, 15 // of each mask; link_mode_masks_nwords
		b = append(b, make([]byte, SizeofLinkSettings-4)...)
		if req[at] != words { // the program wants to know how many there are
			b[at] = -words & 0xff
			return b, nil
		}
		binary.NativeEndian.PutUint32(b[4:], speed)
		b[8], b[at] = duplex, words
		return append(b, make([]byte, 3*4*words)...), nil
	case unix.ETHTOOL_GET_TS_INFO: // struct ethtool_ts_info
		b = append(b, make([]byte, 40)...)
		binary.NativeEndian.PutUint32(b[4:], softwareTimestamps)
		binary.NativeEndian.PutUint32(b[8:], ^uint32(0)) // phc_index: no clock
		return b, nil
	}
	if slices.Contains(unprivilegedEthtool, cmd) {
		return nil, unix.EOPNOTSUPP
	}
	return nil, unix.EPERM
}
