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
	{"PACKET_TX_RING", unix.SOL_PACKET, unix.PACKET_TX_RING, requests, nil},
	{"PACKET_STATISTICS", unix.SOL_PACKET, unix.PACKET_STATISTICS, nil, nil},
	{"PACKET_COPY_THRESH", unix.SOL_PACKET, unix.PACKET_COPY_THRESH, ints(0, 1), nil},
	{"PACKET_AUXDATA", unix.SOL_PACKET, unix.PACKET_AUXDATA, ints(0, 1), nil},
	{"PACKET_ORIGDEV", unix.SOL_PACKET, unix.PACKET_ORIGDEV, ints(0, 1), nil},
	{"PACKET_VERSION", unix.SOL_PACKET, unix.PACKET_VERSION, ints(0, 1, 2), nil},
	{"PACKET_HDRLEN", unix.SOL_PACKET, unix.PACKET_HDRLEN, nil, ints(0, 1, 2)},
	{"PACKET_RESERVE", unix.SOL_PACKET, unix.PACKET_RESERVE, ints(0, 4, 16, 100, 4000, 70000, 1<<31-1), nil},
	{"PACKET_TIMESTAMP", unix.SOL_PACKET, unix.PACKET_TIMESTAMP, ints(0, 1, 16, 64), nil},
	{"PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR, ints(0, 1), nil},
	{"PACKET_VNET_HDR_SZ", unix.SOL_PACKET, unix.PACKET_VNET_HDR_SZ, ints(0, 10, 12), nil},
	{"PACKET_FANOUT", unix.SOL_PACKET, unix.PACKET_FANOUT, fanouts, nil},
	{"PACKET_ROLLOVER_STATS", unix.SOL_PACKET, unix.PACKET_ROLLOVER_STATS, nil, nil},
	{"PACKET_FANOUT_DATA", unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, fanoutData, nil},
	{"PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, ints(0, 1), nil},

	{"PACKET_RECV_OUTPUT", unix.SOL_PACKET, unix.PACKET_RECV_OUTPUT, nil, nil},
	{"PACKET_TX_TIMESTAMP", unix.SOL_PACKET, unix.PACKET_TX_TIMESTAMP, nil, nil},
	{"PACKET_LOSS", unix.SOL_PACKET, unix.PACKET_LOSS, ints(0, 1), nil},
	{"PACKET_TX_HAS_OFF", unix.SOL_PACKET, unix.PACKET_TX_HAS_OFF, ints(0, 1), nil},
	{"PACKET_QDISC_BYPASS", unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, ints(0, 1), nil},

	{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, ints(0, 1, 1151, 1152, 5000, 100000), nil},
	{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, ints(0, 1, 2303, 2304, 5000, 100000), nil},
	{"SO_PRIORITY", unix.SOL_SOCKET, unix.SO_PRIORITY, ints(0, 1, 6, 7), nil},
	{"SO_RCVLOWAT", unix.SOL_SOCKET, unix.SO_RCVLOWAT, ints(0, 1, 100), nil},
	{"SO_RCVTIMEO", unix.SOL_SOCKET, unix.SO_RCVTIMEO, timeouts, nil},
	{"SO_RCVTIMEO_NEW", unix.SOL_SOCKET, unix.SO_RCVTIMEO_NEW, timeouts, nil},
	{"SO_SNDTIMEO", unix.SOL_SOCKET, unix.SO_SNDTIMEO, timeouts, nil},
	{"SO_SNDTIMEO_NEW", unix.SOL_SOCKET, unix.SO_SNDTIMEO_NEW, timeouts, nil},
	{"SO_BINDTODEVICE", unix.SOL_SOCKET, unix.SO_BINDTODEVICE, deviceNames, nil},
	{"SO_BINDTOIFINDEX", unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, ints(0, tapIndex, tunIndex, loIndex, nextIndex), nil},
	{"SO_DONTROUTE", unix.SOL_SOCKET, unix.SO_DONTROUTE, ints(0, 1), nil},
	{"SO_BROADCAST", unix.SOL_SOCKET, unix.SO_BROADCAST, ints(0, 1), nil},
	{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, ints(0, 1), nil},
	{"SO_OOBINLINE", unix.SOL_SOCKET, unix.SO_OOBINLINE, ints(0, 1), nil},
	{"SO_NO_CHECK", unix.SOL_SOCKET, unix.SO_NO_CHECK, ints(0, 1), nil},
	{"SO_BSDCOMPAT", unix.SOL_SOCKET, unix.SO_BSDCOMPAT, ints(0, 1), nil},
	{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, ints(0, 1), nil},
	{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, ints(0, 1), nil},
	{"SO_MARK", unix.SOL_SOCKET, unix.SO_MARK, ints(0, 1), nil},
	{"SO_RXQ_OVFL", unix.SOL_SOCKET, unix.SO_RXQ_OVFL, ints(0, 1), nil},
	{"SO_WIFI_STATUS", unix.SOL_SOCKET, unix.SO_WIFI_STATUS, ints(0, 1), nil},
	{"SO_NOFCS", unix.SOL_SOCKET, unix.SO_NOFCS, ints(0, 1), nil},
	{"SO_SELECT_ERR_QUEUE", unix.SOL_SOCKET, unix.SO_SELECT_ERR_QUEUE, ints(0, 1), nil},
	{"SO_BUSY_POLL", unix.SOL_SOCKET, unix.SO_BUSY_POLL, ints(0, 1), nil},
	{"SO_PREFER_BUSY_POLL", unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, ints(0, 1), nil},
	{"SO_INCOMING_CPU", unix.SOL_SOCKET, unix.SO_INCOMING_CPU, ints(0, 1), nil},
	{"SO_RCVMARK", unix.SOL_SOCKET, unix.SO_RCVMARK, ints(0, 1), nil},
	{"SO_RCVPRIORITY", unix.SOL_SOCKET, unix.SO_RCVPRIORITY, ints(0, 1), nil},
	{"SO_TIMESTAMP", unix.SOL_SOCKET, unix.SO_TIMESTAMP, ints(0, 1), nil},
	{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, ints(0, 1), nil},
	{"SO_TIMESTAMP_NEW", unix.SOL_SOCKET, unix.SO_TIMESTAMP_NEW, ints(0, 1), nil},
	{"SO_TIMESTAMPNS_NEW", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, ints(0, 1), nil},
	{"SO_LOCK_FILTER", unix.SOL_SOCKET, unix.SO_LOCK_FILTER, ints(0, 1), nil},
	{"SO_DETACH_FILTER", unix.SOL_SOCKET, unix.SO_DETACH_FILTER, ints(0, 1), nil},
	{"SO_PASSCRED", unix.SOL_SOCKET, unix.SO_PASSCRED, ints(0, 1), nil},
	{"SO_PASSSEC", unix.SOL_SOCKET, unix.SO_PASSSEC, ints(0, 1), nil},
	{"SO_PEEK_OFF", unix.SOL_SOCKET, unix.SO_PEEK_OFF, ints(0, 1), nil},
	{"SO_TXREHASH", unix.SOL_SOCKET, unix.SO_TXREHASH, ints(0, 1), nil},
	{"SO_PASSPIDFD", unix.SOL_SOCKET, unix.SO_PASSPIDFD, ints(0, 1), nil},
	{"SO_PASSRIGHTS", unix.SOL_SOCKET, unix.SO_PASSRIGHTS, ints(0, 1), nil},
	{"SO_ZEROCOPY", unix.SOL_SOCKET, unix.SO_ZEROCOPY, ints(0, 1), nil},
	{"SO_TYPE", unix.SOL_SOCKET, unix.SO_TYPE, nil, nil},
	{"SO_ERROR", unix.SOL_SOCKET, unix.SO_ERROR, nil, nil},
	{"SO_PROTOCOL", unix.SOL_SOCKET, unix.SO_PROTOCOL, nil, nil},
	{"SO_DOMAIN", unix.SOL_SOCKET, unix.SO_DOMAIN, nil, nil},
	{"SO_BPF_EXTENSIONS", unix.SOL_SOCKET, unix.SO_BPF_EXTENSIONS, nil, nil},
	{"SO_SNDLOWAT", unix.SOL_SOCKET, unix.SO_SNDLOWAT, nil, nil},
	{"SO_ACCEPTCONN", unix.SOL_SOCKET, unix.SO_ACCEPTCONN, nil, nil},
	{"SO_PEERCRED", unix.SOL_SOCKET, unix.SO_PEERCRED, nil, nil},
	{"SO_PEERNAME", unix.SOL_SOCKET, unix.SO_PEERNAME, nil, nil},
	{"SO_PEERGROUPS", unix.SOL_SOCKET, unix.SO_PEERGROUPS, nil, nil},
	{"SO_PEERPIDFD", unix.SOL_SOCKET, unix.SO_PEERPIDFD, nil, nil},
}

// deviceNames are values of SO_BINDTODEVICE.
var deviceNames = rapid.Map(rapid.SampledFrom([]string{
	tap0, tap0 + "\x00", tun0 + "\x00rest", "", "\x00", "none", "none\x00", "tap0 and much more than a name", lo, "fifteen bytes !\x00",
}), func(name string) value { return raw(name) })

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
		index: rapid.SampledFrom([]int32{tapIndex, tapIndex, tunIndex, loIndex, 0, -1, nextIndex}).Draw(t, "index"),
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

// requests are rings of up to 64 KiB, half of them wrong somewhere. Which
// version they suit is left to luck.
var requests = rapid.Custom(func(t *rapid.T) value {
	v := drawBlocks(t)
	if rapid.Bool().Draw(t, "bent") {
		fields := []*uint32{&v.ring.blockSize, &v.ring.blockNr, &v.ring.frameSize, &v.ring.frameNr, &v.priv}
		*rapid.SampledFrom(fields).Draw(t, "field") = rapid.SampledFrom([]uint32{0, 1, 16, 48, 52, 64, 4095, 4096, 4097, 1 << 31, 1<<32 - 16}).Draw(t, "to")
	}
	switch rapid.IntRange(0, 9).Draw(t, "length") {
	case 3, 4:
		return v
	case 5:
		return req3{}
	case 6:
		return req{}
	case 7:
		return raw(v.bytes()[:rapid.IntRange(0, 15).Draw(t, "short")])
	case 8:
		return raw(v.bytes()[:rapid.IntRange(16, 27).Draw(t, "not so short")])
	case 9:
		return raw(append(v.bytes(), make([]byte, rapid.IntRange(1, 12).Draw(t, "more"))...))
	}
	return v.ring
})

func drawRing(t *rapid.T) (v req) {
	v.blockSize = 4096 * rapid.SampledFrom([]uint32{1, 1, 2, 4}).Draw(t, "pages")
	v.blockNr = rapid.Uint32Range(1, 4).Draw(t, "blocks")
	v.frameSize = min(rapid.SampledFrom([]uint32{512, 256, 128, 96, 64, 1024, 2048, 4096, 3008, 16384}).Draw(t, "frame size"), v.blockSize)
	return v.full()
}

// full is the request with as many frames as the blocks hold.
func (v req) full() req {
	v.frameNr = v.blockSize / v.frameSize * v.blockNr
	return v
}

// never is a retire timeout that does not end while a script runs.
const never = 60000

func drawBlocks(t *rapid.T) req3 {
	return req3{
		drawRing(t),
		never,
		rapid.SampledFrom([]uint32{0, 0, 8, 13, 100, 1000, 3900}).Draw(t, "priv"),
		rapid.SampledFrom([]uint32{0, 1, 2}).Draw(t, "features"),
	}
}

// PACKET_FANOUT_FLAG_*, as fanout_args has them.
const (
	flagRollover       = 0x10
	flagIgnoreOutgoing = 0x40
	flagDefrag         = 0x80
)

var fanouts = rapid.Custom(func(t *rapid.T) value {
	v := fanout{
		id:    rapid.SampledFrom([]uint16{1, 1, 1, 2}).Draw(t, "id"),
		mode:  rapid.SampledFrom([]uint8{unix.PACKET_FANOUT_LB, unix.PACKET_FANOUT_LB, unix.PACKET_FANOUT_QM, unix.PACKET_FANOUT_CBPF, unix.PACKET_FANOUT_EBPF, unix.PACKET_FANOUT_HASH, unix.PACKET_FANOUT_CPU, unix.PACKET_FANOUT_RND, unix.PACKET_FANOUT_ROLLOVER}).Draw(t, "mode"),
		flags: rapid.SampledFrom([]uint8{0, 0, 0, flagRollover, flagIgnoreOutgoing, flagDefrag}).Draw(t, "flags"),
		max:   rapid.SampledFrom([]int64{-1, -1, 0, 2, 256}).Draw(t, "max"),
	}
	switch v.mode {
	case unix.PACKET_FANOUT_HASH, unix.PACKET_FANOUT_CPU, unix.PACKET_FANOUT_RND, unix.PACKET_FANOUT_ROLLOVER:
		v.max = 1 // with two members it would be the run's which one gets a packet
	}
	if v.flags&flagRollover != 0 {
		v.max = 1
	}
	switch rapid.IntRange(0, 9).Draw(t, "fault") {
	case 7:
		v.mode = 8
	case 8:
		v.max = rapid.SampledFrom([]int64{1 << 16, 1<<16 + 1, 1<<32 - 1}).Draw(t, "too many")
	case 9:
		return raw(append(v.bytes(), make([]byte, 9)...)[:rapid.IntRange(0, 13).Draw(t, "length")])
	}
	return v
})

// fanoutData is what is no program.
var fanoutData = rapid.Custom(func(t *rapid.T) value {
	return raw(make([]byte, rapid.SampledFrom([]int{16, 0, 4, 8, 15, 17}).Draw(t, "length")))
})
