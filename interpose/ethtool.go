//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// SOF_TIMESTAMPING_RX_SOFTWARE and SOF_TIMESTAMPING_SOFTWARE
// (linux/net_tstamp.h): packets carry the time at which they were delivered.
const softwareTimestamps = 1<<3 | 1<<4

// ethtool serves SIOCETHTOOL: a virtual device, whose large-segment offloads
// are on. libpcap asks, and sizes a ring's frames by the MTU when they are off.
func (c *call) ethtool(addr uint64) error {
	var cmd [4]byte
	if err := c.read(addr, cmd[:]); err != nil {
		return err
	}
	b, err := ethtoolAnswer(native32(cmd[:]))
	if err != nil {
		return err
	}
	return c.write(addr, b)
}

// ethtoolAnswer is the struct that a command gets, its first word the command.
func ethtoolAnswer(cmd uint32) ([]byte, error) {
	b := bytes32(cmd)
	switch cmd {
	case unix.ETHTOOL_GTSO, unix.ETHTOOL_GGSO, unix.ETHTOOL_GGRO, unix.ETHTOOL_GSG,
		unix.ETHTOOL_GRXCSUM, unix.ETHTOOL_GTXCSUM, unix.ETHTOOL_GLINK:
		return append(b, bytes32(1)...), nil // struct ethtool_value
	case unix.ETHTOOL_GUFO, unix.ETHTOOL_GFLAGS, unix.ETHTOOL_GMSGLVL:
		return append(b, bytes32(0)...), nil
	case unix.ETHTOOL_GDRVINFO: // struct ethtool_drvinfo
		b = append(b, make([]byte, 192)...)
		copy(b[4:], "rxring")
		return b, nil
	case unix.ETHTOOL_GET_TS_INFO: // struct ethtool_ts_info
		b = append(b, make([]byte, 40)...)
		binary.NativeEndian.PutUint32(b[4:], softwareTimestamps)
		binary.NativeEndian.PutUint32(b[8:], ^uint32(0)) // phc_index: no clock
		return b, nil
	}
	return nil, unix.EOPNOTSUPP
}
