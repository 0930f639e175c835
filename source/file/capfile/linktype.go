package capfile

import "strconv"

// LinkType identifies a packet's link-layer header: a LINKTYPE_ value of tcpdump.org's list.
type LinkType uint16

const (
	LinkEthernet  LinkType = 1
	LinkRaw       LinkType = 101 // IPv4 or IPv6, by its first four bits
	LinkLinuxSLL  LinkType = 113
	LinkUser0     LinkType = 147 // for private use; tailscale's captures have it
	LinkIPv4      LinkType = 228
	LinkIPv6      LinkType = 229
	LinkLinuxSLL2 LinkType = 276

	// LinkRaw as the numbers of DLT_RAW that some systems wrote into files.
	LinkRawBSD     LinkType = 12
	LinkRawOpenBSD LinkType = 14
)

var linkTypes = map[LinkType]string{
	0:   "BSD loopback",
	1:   "Ethernet",
	9:   "PPP",
	12:  "raw IP",
	14:  "raw IP",
	50:  "PPP in HDLC framing",
	101: "raw IP",
	104: "Cisco HDLC",
	105: "IEEE 802.11",
	108: "OpenBSD loopback",
	113: "Linux cooked",
	127: "IEEE 802.11 with radiotap",
	147: "user-defined",
	220: "USB",
	228: "raw IPv4",
	229: "raw IPv6",
	239: "NFLOG",
	253: "netlink",
	276: "Linux cooked v2",
}

// String returns the type's name, if it is a common one, and its number.
func (t LinkType) String() string {
	n := strconv.Itoa(int(t))
	if name := linkTypes[t]; name != "" {
		return name + " (" + n + ")"
	}
	return "unknown (" + n + ")"
}
