package capfile

import "math"

// MaxPacket is the longest packet that is read and written, in bytes. Linux's largest segment
// (GSO_MAX_SIZE, linux/netdevice.h) has half as many; libpcap's
// MAXIMUM_SNAPLEN is 262144.
const MaxPacket = 1 << 20

// MaxInterfaces is how many different interfaces a file may have.
const MaxInterfaces = 1024

// Direction is a packet's direction: bits 0 and 1 of epb_flags.
type Direction uint8

const (
	DirectionUnknown Direction = 0
	Inbound          Direction = 1
	Outbound         Direction = 2
)

// Interface describes an interface on which packets of a file were captured.
type Interface struct {
	Name     string // if_name; "": none, as in pcap files
	LinkType LinkType
	SnapLen  uint32 // bytes of a packet that were captured at most; 0: all
	Filter   string // if_filter in libpcap's language; "": none

	// Description is if_description, such as where the interface is. Only a Writer has it.
	Description string
}

// Block types and the byte-order magic of pcapng (draft-ietf-opsawg-pcapng,
// section 4).
const (
	blockSection   = 0x0a0d0d0a // SHB; the same in both byte orders
	blockInterface = 1          // IDB
	blockPacket    = 2          // obsolete: PB
	blockSimple    = 3          // SPB
	blockNames     = 4          // NRB
	blockStats     = 5          // ISB
	blockEnhanced  = 6          // EPB
	blockSecrets   = 10         // DSB

	byteOrderMagic = 0x1a2b3c4d
	versionMajor   = 1
	versionMinor   = 0
)

// Options of blocks.
const (
	optEnd     = 0
	optComment = 1 // of any block

	optHardware    = 2 // of an SHB
	optOS          = 3
	optApplication = 4

	optName        = 2 // of an IDB
	optDescription = 3
	optResolution  = 9
	optFilter      = 11
	optOffset      = 14

	optFlags = 2 // of an EPB

	optStart     = 2 // of an ISB
	optStop      = 3
	optReceived  = 4
	optDropped   = 5
	optAccepted  = 6
	optOSDropped = 7
	optDelivered = 8
)

// Lengths in bytes.
const (
	blockFrame    = 12 // type, length, and the length again at the end
	blockHead     = 8  // type and length
	blockTail     = 4
	enhancedFixed = 20 // between an EPB's head and its packet; the same in a PB
	optionHead    = 4
)

// resolutionNano is 10^-9 seconds as if_tsresol; without one it is 10^-6.
const (
	resolutionNano  = 9
	resolutionMicro = 6
)

// unknownLength is the length of a section that is written sequentially.
const unknownLength = math.MaxUint64

// padded returns n rounded up to 4 bytes, the alignment of pcapng.
func padded(n int) int { return (n + 3) &^ 3 }
