//go:build linux

package netdev

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// Statistics are the files of counters below /sys/class/net/NAME/statistics
// (net/core/net-sysfs.c).
var Statistics = []string{
	"collisions", "multicast", "rx_bytes", "rx_compressed", "rx_crc_errors", "rx_dropped", "rx_errors", "rx_fifo_errors",
	"rx_frame_errors", "rx_length_errors", "rx_missed_errors", "rx_nohandler", "rx_over_errors", "rx_packets",
	"tx_aborted_errors", "tx_bytes", "tx_carrier_errors", "tx_compressed", "tx_dropped", "tx_errors", "tx_fifo_errors",
	"tx_heartbeat_errors", "tx_packets", "tx_window_errors",
}

// counter is the value of a device's counter, which its file names.
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

// SysFile makes the contents of a file below /sys/class/net/NAME, for a device with the
// IFF_* flags flags; ok is false if there is no such file.
func SysFile(d *rxring.Device, flags uint32, file string) (content []byte, ok bool) {
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
	case "ifalias":
		if d.Alias() == "" {
			return nil, true
		}
		value = d.Alias()
	case "ifindex", "iflink":
		value = d.Index()
	case "link_mode":
		value = 0
	case "mtu":
		value = d.MTU()
	case "operstate":
		value = state
	case "tx_queue_len":
		value = TxQueueLen(d)
	case "type":
		value = uint16(d.Type())
	default:
		name, ok := strings.CutPrefix(file, "statistics/")
		if !ok || !slices.Contains(Statistics, name) {
			return nil, false
		}
		value = counter(d, name)
	}
	return fmt.Appendf(nil, "%v\n", value), true
}
