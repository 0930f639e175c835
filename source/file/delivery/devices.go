package delivery

import "slices"

// Lengths of packets in bytes, without their link-layer header.
const (
	DefaultMTU = 1500
	MaxSegment = 8 << 16 // GSO_MAX_SIZE (linux/netdevice.h)
)

// maxName is IFNAMSIZ without the terminating NUL.
const maxName = 15

// IsName reports whether a device can have the name: Linux's rule, without control characters
// and without the name by which libpcap means all devices.
func IsName(s string) bool {
	if s == "" || len(s) > maxName || slices.Contains([]string{".", "..", "any"}, s) {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '/' || c == ':' {
			return false
		}
	}
	return true
}
