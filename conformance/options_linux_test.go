package conformance

import (
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// option is a socket option that scripts use.
type option struct {
	name          string // as in C, and in package unix
	level, number int
	set           *rapid.Generator[value] // values good and bad; nil: setting it is an error for all
	args          *rapid.Generator[value] // room that get offers, where its contents matter
}

// options is every option that is the same as the kernel's. docs/compatibility.md
// has a row for each.
var options = []option{
	{"PACKET_ADD_MEMBERSHIP", unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, memberships, nil},
	{"PACKET_DROP_MEMBERSHIP", unix.SOL_PACKET, unix.PACKET_DROP_MEMBERSHIP, memberships, nil},
	{"PACKET_RX_RING", unix.SOL_PACKET, unix.PACKET_RX_RING, requests, nil},
	{"PACKET_STATISTICS", unix.SOL_PACKET, unix.PACKET_STATISTICS, nil, nil},
	{"PACKET_AUXDATA", unix.SOL_PACKET, unix.PACKET_AUXDATA, ints(0, 1), nil},
	{"PACKET_ORIGDEV", unix.SOL_PACKET, unix.PACKET_ORIGDEV, ints(0, 1), nil},
	{"PACKET_VERSION", unix.SOL_PACKET, unix.PACKET_VERSION, ints(0, 1), nil},
	{"PACKET_HDRLEN", unix.SOL_PACKET, unix.PACKET_HDRLEN, nil, ints(0, 1)},
	{"PACKET_RESERVE", unix.SOL_PACKET, unix.PACKET_RESERVE, ints(0, 4, 16, 100, 4000, 70000, 1<<31-1), nil},
	{"PACKET_TIMESTAMP", unix.SOL_PACKET, unix.PACKET_TIMESTAMP, ints(0, 1, 16, 64), nil},
	{"PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, ints(0, 1), nil},

	{"SO_TYPE", unix.SOL_SOCKET, unix.SO_TYPE, nil, nil},
	{"SO_ERROR", unix.SOL_SOCKET, unix.SO_ERROR, nil, nil},
	{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, ints(0, 1, 1151, 1152, 5000, 100000), nil},
	{"SO_RCVTIMEO", unix.SOL_SOCKET, unix.SO_RCVTIMEO, timeouts, nil},
	{"SO_DETACH_FILTER", unix.SOL_SOCKET, unix.SO_DETACH_FILTER, ints(0, 1), nil},
	{"SO_TIMESTAMP", unix.SOL_SOCKET, unix.SO_TIMESTAMP, ints(0, 1), nil},
	{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, ints(0, 1), nil},
	{"SO_PROTOCOL", unix.SOL_SOCKET, unix.SO_PROTOCOL, nil, nil},
	{"SO_DOMAIN", unix.SOL_SOCKET, unix.SO_DOMAIN, nil, nil},
	{"SO_LOCK_FILTER", unix.SOL_SOCKET, unix.SO_LOCK_FILTER, ints(0, 1), nil},
	{"SO_BPF_EXTENSIONS", unix.SOL_SOCKET, unix.SO_BPF_EXTENSIONS, nil, nil},
}

// ints are the good values and some bad ones, most of the right length.
func ints(good ...int32) *rapid.Generator[value] {
	return rapid.Custom(func(t *rapid.T) value {
		v := rapid.SampledFrom(append(good, good...)).Draw(t, "value")
		switch rapid.IntRange(0, 11).Draw(t, "kind") {
		case 9:
			v = rapid.SampledFrom([]int32{-1, 2, 3, 7, 256, 1<<31 - 1, -1 << 31}).Draw(t, "odd value")
		case 10:
			return raw(i32(v).bytes()[:rapid.IntRange(0, 3).Draw(t, "short")])
		case 11:
			return raw(append(i32(v).bytes(), make([]byte, rapid.IntRange(1, 12).Draw(t, "long"))...))
		}
		return i32(v)
	})
}

var timeouts = rapid.Custom(func(t *rapid.T) value {
	// Multiples of 0.1 s: Linux counts in ticks of the machine's.
	v := timeval{
		rapid.SampledFrom([]int64{0, 1, 3600, -1, -1 << 63}).Draw(t, "sec"),
		100000 * rapid.SampledFrom([]int64{0, 1, 9, 10, -1}).Draw(t, "tenths"),
	}
	if n := rapid.IntRange(0, 20).Draw(t, "short"); n >= 17 {
		return raw(v.bytes()[:n-5])
	}
	return v
})

var memberships = rapid.Custom(func(t *rapid.T) value {
	v := mreq{
		index: rapid.SampledFrom([]int32{tapIndex, tapIndex, tunIndex, 0, -1, 99}).Draw(t, "index"),
		typ:   rapid.SampledFrom([]uint16{unix.PACKET_MR_PROMISC, unix.PACKET_MR_MULTICAST, unix.PACKET_MR_ALLMULTI, unix.PACKET_MR_UNICAST, 4, 9}).Draw(t, "type"),
		alen:  rapid.SampledFrom([]uint16{0, 6, 5, 7, 8, 9, 33}).Draw(t, "alen"),
		addr: rapid.SampledFrom([]string{
			"\x00\x00\x00\x00\x00\x00\x00\x00", "\x01\x00\x5e\x00\x00\xfb\x00\x00", "\x02\x00\x00\x00\x00\x09\x00\x00", "\x01\x00\x5e\x00\x00\xfb\x09\x09",
		}).Draw(t, "addr"),
	}
	switch rapid.IntRange(0, 9).Draw(t, "length") {
	case 8:
		return raw(v.bytes()[:rapid.IntRange(0, 15).Draw(t, "short")])
	case 9: // struct packet_mreq_max
		v.addr += string(make([]byte, rapid.IntRange(1, 40).Draw(t, "more")))
	}
	return v
})

// requests are rings of up to 64 KiB, half of them wrong somewhere.
var requests = rapid.Custom(func(t *rapid.T) value {
	v := drawRing(t)
	if rapid.Bool().Draw(t, "bent") {
		fields := []*uint32{&v.blockSize, &v.blockNr, &v.frameSize, &v.frameNr}
		*rapid.SampledFrom(fields).Draw(t, "field") = rapid.SampledFrom([]uint32{0, 1, 16, 48, 52, 64, 4095, 4096, 4097, 1 << 31, 1<<32 - 16}).Draw(t, "to")
	}
	switch rapid.IntRange(0, 9).Draw(t, "length") {
	case 7:
		return req{}
	case 8:
		return raw(v.bytes()[:rapid.IntRange(0, 15).Draw(t, "short")])
	case 9:
		return raw(append(v.bytes(), make([]byte, rapid.IntRange(1, 12).Draw(t, "more"))...))
	}
	return v
})

func drawRing(t *rapid.T) (v req) {
	v.blockSize = 4096 * rapid.SampledFrom([]uint32{1, 1, 2, 4}).Draw(t, "pages")
	v.blockNr = rapid.Uint32Range(1, 4).Draw(t, "blocks")
	v.frameSize = min(rapid.SampledFrom([]uint32{512, 256, 128, 96, 64, 1024, 2048, 4096, 3008, 16384}).Draw(t, "frame size"), v.blockSize)
	v.frameNr = v.blockSize / v.frameSize * v.blockNr
	return v
}
