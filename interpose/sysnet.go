//go:build linux && (amd64 || arm64)

package interpose

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// libpcap reads how many packets an interface has dropped, and what it is, from files
// below /sys/class/net/NAME. Opened by such a path to be read, a file is that of the
// namespace's device, or there is none: the system may have another device of that
// name.

const sysNet = "/sys/class/net/"

// longestSysPath is of a path that may be one of them, with its NUL.
const longestSysPath = len(sysNet + "123456789012345" + "/statistics/tx_heartbeat_errors\x00")

// sysPath splits a path, which ends with NUL, into a device's name and a file's.
func sysPath(path []byte) (device, file string, ok bool) {
	path, _, whole := bytes.Cut(path, []byte{0})
	rest, ok := bytes.CutPrefix(path, []byte(sysNet))
	if !whole || !ok {
		return "", "", false
	}
	device, file, ok = strings.Cut(string(rest), "/")
	return device, file, ok && device != "" && file != ""
}

// statistics are the files of counters (net/core/net-sysfs.c).
var statistics = []string{
	"collisions", "multicast", "rx_bytes", "rx_compressed", "rx_crc_errors", "rx_dropped", "rx_errors", "rx_fifo_errors",
	"rx_frame_errors", "rx_length_errors", "rx_missed_errors", "rx_nohandler", "rx_over_errors", "rx_packets",
	"tx_aborted_errors", "tx_bytes", "tx_carrier_errors", "tx_compressed", "tx_dropped", "tx_errors", "tx_fifo_errors",
	"tx_heartbeat_errors", "tx_packets", "tx_window_errors",
}

// counter is a device's counter, by the name of its file.
func counter(d *rxring.Device, name string) uint64 {
	in, out := d.Traffic()
	switch name {
	case "rx_packets":
		return in.Packets
	case "rx_bytes":
		return in.Bytes
	case "tx_packets":
		return out.Packets
	case "tx_bytes":
		return out.Bytes
	}
	return 0
}

// sysFile is what is in a device's file; ok is false if there is no such file.
func sysFile(d *rxring.Device, flags uint32, file string) (content []byte, ok bool) {
	hardware := func(addr []byte) string {
		if !d.Type().Ethernet() {
			return ""
		}
		return net.HardwareAddr(addr).String()
	}
	addr, broadcast, state, carrier := d.HardwareAddr(), make([]byte, 6), "unknown", 1
	if d.Type() == rxring.Ethernet {
		broadcast = bytes.Repeat([]byte{0xff}, 6)
	}
	if !d.Up() {
		state, carrier = "down", 0
	}
	addrLen := len(addr)
	if !d.Type().Ethernet() {
		addrLen = 0
	}
	var value any
	switch file {
	case "addr_len":
		value = addrLen
	case "address":
		value = hardware(addr[:])
	case "broadcast":
		value = hardware(broadcast)
	case "carrier":
		value = carrier
	case "flags": // dev->flags, which has neither of these
		value = fmt.Sprintf("%#x", flags&^(unix.IFF_RUNNING|unix.IFF_LOWER_UP))
	case "ifindex", "iflink":
		value = d.Index()
	case "link_mode":
		value = 0
	case "mtu":
		value = d.MTU()
	case "operstate":
		value = state
	case "tx_queue_len":
		value = netdev.TxQueueLen(d)
	case "type":
		value = uint16(d.Type())
	default:
		name, ok := strings.CutPrefix(file, "statistics/")
		if !ok || !slices.Contains(statistics, name) {
			return nil, false
		}
		value = counter(d, name)
	}
	return fmt.Appendf(nil, "%v\n", value), true
}
