package conformance

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// fails is a step that the story says fails.
type fails struct {
	errno unix.Errno
	op    op
}

func (o fails) String() string {
	return fmt.Sprintf("fails{unix.%s, %v}", errnoName(o.errno), o.op)
}

func (o fails) do(p *party) outcome {
	got := o.op.do(p)
	if got.errno() != o.errno {
		got.err = fmt.Errorf("the story is told wrong, want %s: %v", errnoName(o.errno), got)
	}
	return got
}

// Names for what many stories do.
func open(s int) op            { return socket{s, unix.SOCK_RAW, unix.ETH_P_ALL} }
func version(s int, v i32) op  { return set{s, unix.SOL_PACKET, unix.PACKET_VERSION, v} }
func rxRing(s int, v value) op { return set{s, unix.SOL_PACKET, unix.PACKET_RX_RING, v} }
func bindTo(s, index int) op   { return bind{s, sll{unix.AF_PACKET, index, unix.ETH_P_ALL}} }
func join(s int, v fanout) op  { return set{s, unix.SOL_PACKET, unix.PACKET_FANOUT, v} }
func statistics(s, n int) op {
	return get{s, unix.SOL_PACKET, unix.PACKET_STATISTICS, room(n)}
}

var (
	onePage = req{4096, 1, 512, 8}
	hello   = packet{proto: unix.ETH_P_IP, n: 60}

	bytesOfHello = framed{tap0, hello, false, 1 << 16, 0}
	noBytes      = raw("")

	// libpcap's filter while it sets another, and a filter for all.
	none = program{{Op: unix.BPF_RET | unix.BPF_K}}
	all  = program{{Op: unix.BPF_RET | unix.BPF_K, K: 262144}}
)

type story struct {
	name   string
	script script
}

var stories = []story{
	{"libpcap sets up a V2 ring", script{
		socket{0, unix.SOCK_RAW, 0},
		bind{0, sll{unix.AF_PACKET, tapIndex, 0}},
		get{0, unix.SOL_SOCKET, unix.SO_ERROR, room(4)},
		set{0, unix.SOL_PACKET, unix.PACKET_AUXDATA, i32(1)},
		get{0, unix.SOL_SOCKET, unix.SO_BPF_EXTENSIONS, room(4)},
		get{0, unix.SOL_PACKET, unix.PACKET_HDRLEN, i32(1)},
		version(0, 1),
		set{0, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(4)},
		rxRing(0, req{65536, 2, 65536, 2}),
		mmap{0},
		bindTo(0, tapIndex),
		attach{0, none},
		arrive{tap0, hello, 3, whole},
		attach{0, all},
		arrive{tap0, hello, 3, whole},
		leave{tap0, hello, 1, whole},
		handBack{0, 10},
		statistics(0, 12),
		munmap{0},
		rxRing(0, req{}),
		closeSocket{0},
	}},
	{"afpacket sets up a ring", script{ // gopacket/afpacket.NewTPacket
		socket{0, unix.SOCK_RAW, unix.ETH_P_ALL},
		bindTo(0, tapIndex),
		version(0, 1),
		rxRing(0, req{524288, 1, 4096, 128}),
		mmap{0},
		arrive{tap0, hello, 2, whole},
		handBack{0, 1},
		statistics(0, 8),
		munmap{0},
	}},
	{"what is sent through lo comes back in", script{
		open(0), // all devices
		socket{1, unix.SOCK_RAW, 0},
		bindTo(1, loIndex),
		socket{2, unix.SOCK_DGRAM, 0},
		bind{2, sll{unix.AF_PACKET, loIndex, 0x88b5}},
		send{2, raw("without an address"), nil},
		recv{0, 100, 0, 0}, // leaving
		recv{0, 100, 0, 0}, // coming in
		recv{1, 100, 0, 0},
		recv{1, 100, 0, 0},
		recv{2, 100, 0, 0}, // coming in
		fails{unix.EAGAIN, recv{2, 100, 0, 0}},
		send{1, framed{lo, packet{to: toAll, proto: unix.ETH_P_IP, n: 60}, false, 1 << 16, 0}, nil},
		recv{0, 100, 0, 0},
		recv{0, 100, 0, 0},
		recv{1, 100, 0, 0}, // incoming: the sender does not see it leave
		fails{unix.EAGAIN, recv{1, 100, 0, 0}},
		send{1, framed{lo, packet{proto: unix.ETH_P_IP, n: 60, tag: 0x8100_2005}, false, 1 << 16, 0}, nil},
		recv{0, 100, 0, 0},
		recv{0, 100, 0, 0},
		recv{1, 100, 0, 0},
		set{1, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, i32(1)},
		send{1, bytesOfHello, nil},
		recv{0, 100, 0, 0},
		fails{unix.EAGAIN, recv{0, 100, 0, 0}},
		recv{1, 100, 0, 0},
	}},
	{"a tag of a frame sent through lo does not move its network header", script{
		open(0),
		version(0, 1),
		rxRing(0, onePage),
		mmap{0},
		socket{1, unix.SOCK_RAW, 0},
		bindTo(1, loIndex),
		send{1, framed{lo, packet{proto: unix.ETH_P_IP, n: 60, tag: 0x8100_2005}, false, 1 << 16, 0}, nil},
		bindTo(1, tapIndex), // an Ethernet device's does
		send{1, framed{tap0, packet{proto: unix.ETH_P_IP, n: 60, tag: 0x8100_2005}, false, 1 << 16, 0}, nil},
	}},
	{"a transmit ring sends through lo to no address, whatever was sent before", script{
		socket{0, unix.SOCK_RAW, unix.ETH_P_ALL},
		socket{1, unix.SOCK_DGRAM, 0},
		bind{1, sll{unix.AF_PACKET, loIndex, 0}},
		send{1, raw("with an address"), raw("\x11\x00\x88\xb5\x01\x00\x00\x00\x00\x00\x00\x06\x02\x00\x00\x00\x00\x09\x00\x00")},
		recv{0, 100, 0, 0}, // leaving
		recv{0, 100, 0, 0}, // coming in, for another host
		bind{1, sll{unix.AF_PACKET, loIndex, unix.ETH_P_802_2}},
		set{1, unix.SOL_PACKET, unix.PACKET_TX_RING, onePage},
		mmap{1},
		fill{1, 0, raw("without one"), txHeader{length: -1, status: tpacket.StatusSendRequest}},
		send{1, noBytes, nil},
		recv{0, 100, 0, 0},
		recv{0, 100, 0, 0}, // for this one
	}},
	{"lo takes no tag over its MTU", script{
		socket{0, unix.SOCK_RAW, 0},
		bind{0, sll{unix.AF_PACKET, loIndex, 0x88b5}},
		send{0, framed{lo, packet{proto: 0x88b5, n: 65536}, false, 1 << 17, 0}, nil},
		fails{unix.EMSGSIZE, send{0, framed{lo, packet{proto: 0x88b5, n: 65537}, false, 1 << 17, 0}, nil}},
		fails{unix.EMSGSIZE, send{0, framed{lo, packet{proto: 0x88b5, n: 65536, tag: 0x8100_2005}, false, 1 << 17, 0}, nil}},
	}},
	{"a mapped ring stays", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		fails{unix.EBUSY, rxRing(0, req{})},
		fails{unix.EBUSY, rxRing(0, req{4096, 2, 512, 16})},
		fails{unix.EINVAL, rxRing(0, raw("\x00"))},
		arrive{tap0, hello, 1, whole},
		munmap{0},
		rxRing(0, req{}),
		rxRing(0, req{4096, 2, 512, 16}),
		mmap{0},
		arrive{tap0, hello, 20, whole},
	}},
	{"a ring is not replaced, only taken away", script{
		open(0),
		rxRing(0, onePage),
		fails{unix.EBUSY, rxRing(0, onePage)},
		fails{unix.EBUSY, rxRing(0, req{1, 1, 1, 1})},
		fails{unix.EINVAL, rxRing(0, req{0, 0, 0, 1})},
		rxRing(0, req{}),
		rxRing(0, req{}),
		rxRing(0, onePage),
	}},
	{"a ring fixes version and reserve", script{
		open(0),
		rxRing(0, onePage),
		fails{unix.EBUSY, version(0, 0)},
		fails{unix.EBUSY, version(0, 1)},
		fails{unix.EINVAL, version(0, 3)},
		fails{unix.EBUSY, set{0, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(0)}},
		fails{unix.EINVAL, set{0, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(-1)}},
		rxRing(0, req{}),
		version(0, 1),
		set{0, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(16)},
		rxRing(0, onePage),
	}},
	{"a reserve that no frame has room for", script{
		open(0),
		set{0, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(4096)},
		fails{unix.EINVAL, rxRing(0, onePage)},
		set{0, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(512)},
		fails{unix.EINVAL, rxRing(0, onePage)},
		set{0, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(1<<31 - 1)},
		fails{unix.EINVAL, rxRing(0, onePage)},
		set{0, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(460)},
		rxRing(0, onePage),
		mmap{0},
		arrive{tap0, hello, 1, whole},
		arrive{tun0, hello, 1, whole},
	}},
	{"offsets that tp_net cannot hold drop the packet", script{
		open(0),
		set{0, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(65535 - 80)},
		rxRing(0, req{131072, 1, 131072, 1}),
		mmap{0},
		open(1),
		set{1, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(65535 - 79)},
		rxRing(1, req{131072, 1, 131072, 1}),
		mmap{1},
		arrive{tap0, hello, 1, whole},
		statistics(0, 8),
		statistics(1, 8),
	}},
	{"the sender's priority is told", script{
		socket{0, unix.SOCK_RAW, 0},
		set{0, unix.SOL_SOCKET, unix.SO_PRIORITY, i32(5)},
		socket{1, unix.SOCK_RAW, unix.ETH_P_ALL},
		set{1, unix.SOL_SOCKET, unix.SO_RCVPRIORITY, i32(1)},
		bind{0, sll{unix.AF_PACKET, tapIndex, 0}},
		send{0, framed{tap0, hello, false, 1 << 16, 0}, nil},
		recv{1, 10000, 0, 200},
		arrive{tap0, hello, 1, whole},
		recv{1, 10000, 0, 200},
	}},
	{"statistics clear when they are read", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		arrive{tap0, hello, 5, whole},
		statistics(0, 8),
		statistics(0, 8),
		arrive{tap0, hello, 5, whole},
		statistics(0, 4), // too little room: still cleared
		statistics(0, 8),
		fails{unix.ENOPROTOOPT, set{0, unix.SOL_PACKET, unix.PACKET_STATISTICS, i32(0)}},
	}},
	{"LOSING lives from a drop until statistics are read", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		arrive{tap0, hello, 9, whole},
		handBack{0, 3},
		arrive{tap0, hello, 1, whole},
		statistics(0, 8),
		arrive{tap0, hello, 1, whole},
	}},
	{"a reader hands slots back out of turn", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		arrive{tap0, hello, 8, whole},
		store{0, 5, tpacket.StatusKernel},
		arrive{tap0, hello, 1, whole},
		store{0, 0, tpacket.StatusKernel},
		arrive{tap0, hello, 1, whole},
		store{0, 1, 0xdead0000},
		arrive{tap0, hello, 1, whole},
	}},
	{"an address that is not there stays in the slot", script{
		open(0),
		rxRing(0, req{4096, 1, 4096, 1}),
		mmap{0},
		arrive{tap0, hello, 1, whole},
		handBack{0, 1},
		arrive{tun0, hello, 1, whole}, // no address: the last one's is still there
	}},
	{"an empty packet is refused, unless a filter wants it", script{
		socket{0, unix.SOCK_DGRAM, unix.ETH_P_ALL},
		rxRing(0, onePage),
		mmap{0},
		arrive{tap0, packet{proto: unix.ETH_P_IP}, 1, whole},
		attach{0, all},
		arrive{tap0, packet{proto: unix.ETH_P_IP}, 1, whole},
		statistics(0, 8),
	}},
	{"a locked filter", script{
		open(0),
		attach{0, all},
		set{0, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, i32(1)},
		fails{unix.EPERM, attach{0, none}},
		fails{unix.EPERM, set{0, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, i32(0)}},
		fails{unix.EPERM, set{0, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, i32(0)}},
		set{0, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, i32(1)},
		get{0, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, room(4)},
	}},
	{"a filter that is not there", script{
		open(0),
		fails{unix.ENOENT, set{0, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, i32(0)}},
		fails{unix.EINVAL, set{0, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, raw("")}},
		fails{unix.EINVAL, attach{0, program{}}},
	}},
	{"SO_* options are ints, even those that are not there", script{
		open(0),
		fails{unix.EINVAL, set{0, unix.SOL_SOCKET, unix.SO_BPF_EXTENSIONS, raw("\x00")}},
		fails{unix.EINVAL, set{0, unix.SOL_SOCKET, 9999, raw("\x00")}},
		fails{unix.ENOPROTOOPT, set{0, unix.SOL_SOCKET, unix.SO_BPF_EXTENSIONS, i32(1)}},
		fails{unix.ENOPROTOOPT, set{0, unix.SOL_SOCKET, 9999, i32(1)}},
		fails{unix.ENOPROTOOPT, set{0, unix.SOL_PACKET, 9999, raw("")}},
		fails{unix.ENOPROTOOPT, get{0, unix.SOL_PACKET, 9999, room(4)}},
	}},
	{"libpcap sets up a V3 ring", script{
		socket{0, unix.SOCK_RAW, 0},
		bind{0, sll{unix.AF_PACKET, tapIndex, 0}},
		get{0, unix.SOL_SOCKET, unix.SO_ERROR, room(4)},
		set{0, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq{tapIndex, unix.PACKET_MR_PROMISC, 0, "\x00\x00\x00\x00\x00\x00\x00\x00"}},
		set{0, unix.SOL_PACKET, unix.PACKET_AUXDATA, i32(1)},
		get{0, unix.SOL_SOCKET, unix.SO_BPF_EXTENSIONS, room(4)},
		get{0, unix.SOL_PACKET, unix.PACKET_HDRLEN, i32(2)},
		version(0, 2),
		set{0, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(4)},
		rxRing(0, req3{req{262144, 8, 262144, 8}, never, 0, 0}),
		mmap{0},
		bindTo(0, tapIndex),
		attach{0, none},
		arrive{tap0, hello, 3, whole},
		recv{0, 1, unix.MSG_TRUNC, 0}, // libpcap drains the queue, which is empty
		attach{0, all},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 8986}, 40, inBatches},
		leave{tap0, hello, 1, whole},
		handBack{0, 1},
		statistics(0, 12),
	}},
	{"afpacket sets up a V3 ring", script{ // gopacket/afpacket.NewTPacket
		open(0),
		bindTo(0, tapIndex),
		version(0, 2),
		rxRing(0, req3{req{524288, 1, 4096, 128}, never, 0, 0}),
		mmap{0},
		statistics(0, 8),
		statistics(0, 12),
	}},
	{"blocks freeze when the reader has all, and thaw", script{
		open(0),
		version(0, 2),
		rxRing(0, req3{req{4096, 2, 1024, 8}, never, 0, 0}),
		mmap{0},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 1400}, 4, whole}, // two a block: all are in use
		arrive{tap0, hello, 1, whole},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 1400}, 2, whole}, // the first of them freezes
		statistics(0, 12),
		handBack{0, 1},
		arrive{tap0, hello, 1, whole},
		handBack{0, 1},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 1400}, 9, whole},
		statistics(0, 12),
		statistics(0, 12),
	}},
	{"the timer hands blocks over that are not full", script{
		open(0),
		version(0, 2),
		rxRing(0, req3{req{4096, 2, 1024, 8}, 20, 40, 1}),
		mmap{0},
		expire{72}, // an empty block stays
		arrive{tap0, hello, 2, whole},
		expire{72},
		arrive{tap0, hello, 30, whole},
		expire{72},
		handBack{0, 2},
		expire{72}, // the timer thaws
		arrive{tap0, hello, 1, whole},
		expire{72},
		statistics(0, 12),
	}},
	{"a packet that a whole block has no room for is cut", script{
		open(0),
		version(0, 2),
		rxRing(0, req3{req{4096, 2, 1024, 8}, never, 3000, 0}),
		mmap{0},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 1400}, 3, whole},
	}},
	{"a V3 socket's request is a tpacket_req3", script{
		open(0),
		version(0, 2),
		fails{unix.EINVAL, rxRing(0, onePage)},
		rxRing(0, req3{onePage, never, 0, 0}),
		mmap{0},
		fails{unix.EINVAL, rxRing(0, onePage)},
		fails{unix.EBUSY, rxRing(0, req3{})},
		munmap{0},
		rxRing(0, req3{}),
		fails{unix.EINVAL, rxRing(0, req3{onePage, never, 4096, 0})},
	}},
	{"a socket without a ring", script{
		open(0),
		fails{unix.EAGAIN, recv{0, 100, 0, 0}},
		fails{unix.EINVAL, recv{0, 100, unix.MSG_OOB, 0}},
		arrive{tap0, hello, 4, whole},
		arrive{tun0, hello, 1, whole},
		leave{tap0, hello, 1, whole},
		set{0, unix.SOL_PACKET, unix.PACKET_AUXDATA, i32(1)},
		set{0, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, i32(1)},
		recv{0, 100, unix.MSG_PEEK, 200},
		recv{0, 100, 0, 200},
		recv{0, 10, 0, 20},
		recv{0, 10, unix.MSG_TRUNC, 50},
		rxRing(0, onePage), // and the queue is empty
		fails{unix.EAGAIN, recv{0, 100, 0, 0}},
		statistics(0, 8),
	}},
	{"SO_RCVBUF bounds the queue, SO_RXQ_OVFL counts what did not fit", script{
		open(0),
		set{0, unix.SOL_SOCKET, unix.SO_RCVBUF, i32(0)},
		get{0, unix.SOL_SOCKET, unix.SO_RCVBUF, room(4)},
		set{0, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, i32(1)},
		arrive{tap0, hello, 10, whole},
		recv{0, 100, 0, 100},
		arrive{tap0, hello, 1, whole},
		recv{0, 100, 0, 100},
		recv{0, 100, 0, 100},
		recv{0, 100, 0, 100},
		statistics(0, 8),
	}},
	{"what a frame cuts is whole in the queue", script{
		open(0),
		set{0, unix.SOL_PACKET, unix.PACKET_COPY_THRESH, i32(1)},
		rxRing(0, req{4096, 1, 128, 32}),
		mmap{0},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 1000}, 2, whole},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 20}, 1, whole},
		set{0, unix.SOL_PACKET, unix.PACKET_AUXDATA, i32(1)},
		recv{0, 2000, 0, 100},
		recv{0, 2000, 0, 100},
		fails{unix.EAGAIN, recv{0, 2000, 0, 100}},
	}},
	{"a frame that ends before its packet begins cuts even an empty one", script{
		socket{0, unix.SOCK_DGRAM, unix.ETH_P_ALL},
		set{0, unix.SOL_PACKET, unix.PACKET_COPY_THRESH, i32(1)},
		rxRing(0, req{4096, 1, 64, 64}),
		mmap{0},
		attach{0, all},
		arrive{tap0, packet{proto: unix.ETH_P_IP}, 1, whole},
		recv{0, 100, 0, 0},
	}},
	{"offloads in vnet headers", script{
		open(0),
		set{0, unix.SOL_PACKET, unix.PACKET_VNET_HDR, i32(1)},
		rxRing(0, req{8192, 1, 2048, 4}),
		mmap{0},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 1000, load: offload{flags: needsCsum}}, 1, whole},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 3000, load: offload{needsCsum, gsoTCPv4, 54, 500}}, 1, whole},
		leave{tap0, packet{proto: unix.ETH_P_IPV6, n: 20000, load: offload{needsCsum, gsoTCPv6, 74, 500}}, 1, whole},
		open(1),
		set{1, unix.SOL_PACKET, unix.PACKET_VNET_HDR_SZ, i32(12)},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 3000, load: offload{needsCsum, gsoUDPL4, 42, 500}}, 1, whole},
		recv{1, 4000, 0, 0},
		arrive{tap0, hello, 1, whole},
		fails{unix.EINVAL, recv{1, 11, 0, 0}}, // and the packet is gone
		fails{unix.EAGAIN, recv{1, 12, 0, 0}},
		socket{2, unix.SOCK_DGRAM, unix.ETH_P_ALL},
		fails{unix.EINVAL, set{2, unix.SOL_PACKET, unix.PACKET_VNET_HDR, i32(0)}},
	}},
	{"a filter cuts a segment in the queue, headers and all", script{
		open(0),
		set{0, unix.SOL_PACKET, unix.PACKET_VNET_HDR, i32(1)},
		attach{0, program{{Op: unix.BPF_RET | unix.BPF_K, K: 40}}},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 1000, load: offload{needsCsum, gsoTCPv4, 54, 500}}, 1, whole},
		recv{0, 100, 0, 0},
	}},
	{"a header that is asked for when a packet waits already", script{
		open(0),
		arrive{tap0, hello, 2, whole},
		set{0, unix.SOL_PACKET, unix.PACKET_VNET_HDR, i32(1)},
		read{0, 100, unix.SO_RCVTIMEO, 8},
		set{0, unix.SOL_PACKET, unix.PACKET_VNET_HDR, i32(0)},
		read{0, 100, unix.SO_RCVTIMEO, 8},
	}},
	{"VLAN tags", script{
		open(0),
		version(0, 1),
		rxRing(0, onePage),
		mmap{0},
		socket{1, unix.SOCK_DGRAM, unix.ETH_P_ALL},
		version(1, 2),
		rxRing(1, req3{onePage, 20, 0, 0}),
		mmap{1},
		socket{2, unix.SOCK_RAW, unix.ETH_P_IP},
		version(2, 1),
		rxRing(2, onePage),
		mmap{2},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 46, tag: unix.ETH_P_8021Q<<16 | 0x6064}, 1, whole},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 46, tag: unix.ETH_P_8021AD<<16 | 5}, 1, tagsBeside},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 46, tag: unix.ETH_P_8021Q<<16 | 0xe000}, 1, whole}, // a priority only
		leave{tap0, packet{proto: unix.ETH_P_IP, n: 46, tag: unix.ETH_P_8021Q<<16 | 0x6064}, 1, whole},
		expire{72},
	}},
	{"a fanout group and who may join it", script{
		socket{0, unix.SOCK_RAW, 0},
		fails{unix.EINVAL, join(0, fanout{1, unix.PACKET_FANOUT_LB, 0, -1})}, // no protocol
		bindTo(0, tapIndex),
		fails{unix.EINVAL, join(0, fanout{1, 8, 0, -1})},
		fails{unix.EINVAL, join(0, fanout{1, unix.PACKET_FANOUT_ROLLOVER, flagRollover, -1})},
		fails{unix.EINVAL, join(0, fanout{1, unix.PACKET_FANOUT_LB, 0, 1<<16 + 1})},
		fails{unix.EINVAL, get{0, unix.SOL_PACKET, unix.PACKET_ROLLOVER_STATS, room(24)}},
		get{0, unix.SOL_PACKET, unix.PACKET_FANOUT, room(4)},
		join(0, fanout{1, unix.PACKET_FANOUT_LB, 0, 2}),
		get{0, unix.SOL_PACKET, unix.PACKET_FANOUT, room(4)},
		fails{unix.EALREADY, join(0, fanout{1, unix.PACKET_FANOUT_LB, 0, 2})},
		fails{unix.EINVAL, bindTo(0, tapIndex)},
		open(1),
		fails{unix.EINVAL, join(1, fanout{1, unix.PACKET_FANOUT_LB, 0, -1})}, // another device
		bindTo(1, tapIndex),
		fails{unix.EINVAL, join(1, fanout{1, unix.PACKET_FANOUT_LB, flagDefrag, -1})},
		fails{unix.EINVAL, join(1, fanout{1, unix.PACKET_FANOUT_LB, 0, 3})},
		join(1, fanout{1, unix.PACKET_FANOUT_LB, 0, -1}),
		socket{2, unix.SOCK_DGRAM, unix.ETH_P_ALL},
		bindTo(2, tapIndex),
		fails{unix.ENOSPC, join(2, fanout{1, unix.PACKET_FANOUT_LB, 0, 2})},
		closeSocket{0},
		join(2, fanout{1, unix.PACKET_FANOUT_LB, 0, 2}),
		fails{unix.EINVAL, fanoutProgram{2, all}}, // no cBPF group
	}},
	{"a fanout group takes turns", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		join(0, fanout{1, unix.PACKET_FANOUT_LB, flagIgnoreOutgoing, -1}),
		open(1),
		rxRing(1, onePage),
		mmap{1},
		join(1, fanout{1, unix.PACKET_FANOUT_LB, flagIgnoreOutgoing, -1}),
		socket{2, unix.SOCK_DGRAM, unix.ETH_P_ALL},
		join(2, fanout{1, unix.PACKET_FANOUT_LB, flagIgnoreOutgoing, -1}),
		rxRing(2, onePage), // the last one now
		mmap{2},
		arrive{tap0, hello, 1, whole},
		arrive{tap0, hello, 7, inBatches},
		leave{tap0, hello, 1, whole},
		munmap{0},
		rxRing(0, req{}),
		arrive{tun0, hello, 4, whole},
		closeSocket{1},
		arrive{tun0, hello, 4, whole},
	}},
	{"a fanout group rolls over", script{
		open(0),
		rxRing(0, req{4096, 1, 2048, 2}),
		mmap{0},
		join(0, fanout{1, unix.PACKET_FANOUT_ROLLOVER, 0, -1}),
		open(1),
		rxRing(1, req{4096, 1, 2048, 2}),
		mmap{1},
		join(1, fanout{1, unix.PACKET_FANOUT_ROLLOVER, 0, -1}),
		arrive{tap0, hello, 1, whole},
		arrive{tap0, hello, 3, whole},
		arrive{tap0, hello, 1, whole},
		get{0, unix.SOL_PACKET, unix.PACKET_ROLLOVER_STATS, room(24)},
		get{1, unix.SOL_PACKET, unix.PACKET_ROLLOVER_STATS, room(12)},
		handBack{1, 2},
		arrive{tap0, hello, 1, whole},
		statistics(0, 8),
		statistics(1, 8),
	}},
	{"a program chooses", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		join(0, fanout{1, unix.PACKET_FANOUT_CBPF, 0, -1}),
		open(1),
		rxRing(1, onePage),
		mmap{1},
		join(1, fanout{1, unix.PACKET_FANOUT_CBPF, 0, -1}),
		arrive{tap0, hello, 2, whole}, // no program: the first one
		fanoutProgram{1, program{{Op: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 3}, {Op: unix.BPF_RET | unix.BPF_A}}}, // a length, or an address
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 61}, 1, whole},
		arrive{tap0, packet{proto: unix.ETH_P_IP, n: 60}, 1, inBatches},
		leave{tap0, packet{to: toOther, proto: unix.ETH_P_IP, n: 60}, 1, whole},
		leave{tap0, packet{to: toAll, proto: unix.ETH_P_IP, n: 60}, 1, whole},
		set{0, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, i32(1)},
		fails{unix.EPERM, fanoutProgram{0, all}},
	}},
	{"a group for eBPF whose filter is locked", script{
		open(0),
		join(0, fanout{1, unix.PACKET_FANOUT_EBPF, 0, -1}),
		fails{unix.EINVAL, fanoutProgram{0, all}},
		set{0, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, i32(1)},
		fails{unix.EPERM, fanoutProgram{0, all}},
	}},
	{"a device goes down and comes up", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		bindTo(0, tapIndex),
		open(1), // on all devices: it does not notice
		arrive{tap0, hello, 1, whole},
		device{tap0, goesDown}, // POLLERR
		arrive{tap0, hello, 1, whole},
		fails{unix.ENETDOWN, recv{0, 100, 0, 0}},
		fails{unix.EAGAIN, recv{0, 100, 0, 0}},
		bindTo(0, tapIndex), // nothing new, so nothing happens
		bind{0, sll{unix.AF_PACKET, tapIndex, unix.ETH_P_IP}},
		get{0, unix.SOL_SOCKET, unix.SO_ERROR, room(4)},
		get{0, unix.SOL_SOCKET, unix.SO_ERROR, room(4)},
		device{tap0, comesUp},
		arrive{tap0, hello, 1, whole},
		leave{tap0, hello, 1, whole},
		recv{1, 100, 0, 0},
	}},
	{"a device goes away", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		bindTo(0, tapIndex),
		set{0, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq{tapIndex, unix.PACKET_MR_PROMISC, 0, "\x00\x00\x00\x00\x00\x00\x00\x00"}},
		set{0, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, raw(tap0)},
		device{tap0, goesAway},
		get{0, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, room(16)},
		get{0, unix.SOL_SOCKET, unix.SO_ERROR, room(4)},
		set{0, unix.SOL_PACKET, unix.PACKET_DROP_MEMBERSHIP, mreq{tapIndex, unix.PACKET_MR_PROMISC, 0, "\x00\x00\x00\x00\x00\x00\x00\x00"}},
		fails{unix.ENODEV, bindTo(0, tapIndex)},
		device{tap0, comesBack},
		arrive{tap0, hello, 1, whole}, // not for a socket that was bound to the one before
		bindTo(0, nextIndex),
		arrive{tap0, hello, 1, whole},
	}},
	{"a bare IP packet in a transmit ring is of no protocol", script{
		socket{0, unix.SOCK_RAW, unix.ETH_P_ALL},
		open(1),
		set{0, unix.SOL_PACKET, unix.PACKET_TX_RING, onePage},
		mmap{0},
		bindTo(0, tunIndex),
		fill{0, 0, framed{tun0, hello, true, 1 << 16, 0}, txHeader{length: -1, status: tpacket.StatusSendRequest}},
		send{0, noBytes, nil},
		recv{1, 100, 0, 0},
		munmap{0},
		set{0, unix.SOL_PACKET, unix.PACKET_TX_RING, req3{}},
		send{0, framed{tun0, hello, true, 1 << 16, 0}, nil},
		recv{1, 100, 0, 0},
		send{0, framed{tun0, packet{proto: unix.ETH_P_IPV6, n: 8000}, true, 1 << 16, 0}, nil},
		recv{1, 100, 0, 0},
		set{0, unix.SOL_PACKET, unix.PACKET_VNET_HDR, i32(1)},
		send{0, framed{tun0, packet{proto: unix.ETH_P_IP, n: 8000}, true, 1 << 16, 10}, nil},
		recv{1, 100, 0, 0},
	}},
	{"a filter leaves nothing of the tags", script{
		socket{0, unix.SOCK_DGRAM, unix.ETH_P_ALL},
		attach{0, program{{Op: unix.BPF_RET | unix.BPF_K, K: 1}}},
		arrive{tap0, packet{tag: 0x88a80005, proto: unix.ETH_P_8021Q, n: 100}, 1, whole},
		leave{tap0, packet{tag: 0x88a80005, proto: unix.ETH_P_8021Q, n: 100}, 1, whole},
		recv{0, 100, 0, 0},
		recv{0, 100, 0, 0},
		attach{0, program{{Op: unix.BPF_RET | unix.BPF_K, K: 4}}},
		arrive{tap0, packet{tag: 0x88a80005, proto: unix.ETH_P_8021Q, n: 100}, 1, whole},
		recv{0, 100, 0, 0},
	}},
	{"what is pending is told to who sends", script{
		open(0),
		set{0, unix.SOL_PACKET, unix.PACKET_TX_RING, onePage},
		mmap{0},
		bindTo(0, tapIndex),
		open(1),
		bindTo(1, tapIndex),
		open(2),
		device{tap0, goesDown},
		fails{unix.ENETDOWN, send{1, bytesOfHello, nil}}, // which takes nothing
		device{tap0, comesUp},
		fails{unix.EMSGSIZE, send{1, framed{tap0, packet{proto: unix.ETH_P_IP, n: deviceMTU + 20}, false, 1 << 16, 0}, nil}},
		fails{unix.ENETDOWN, send{1, bytesOfHello, nil}},
		send{1, bytesOfHello, nil},
		fill{0, 0, bytesOfHello, txHeader{length: -1, status: tpacket.StatusSendRequest}},
		fails{unix.ENETDOWN, send{0, noBytes, nil}},
		send{0, noBytes, nil},
		recv{2, 100, 0, 0},
	}},
	{"a frame goes to the wire and to who looks", script{
		open(0),
		bindTo(0, tapIndex),
		open(1),
		send{0, bytesOfHello, nil},
		send{0, bytesOfHello, raw("\x11\x00\x08\x00\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")},
		recv{1, 100, 0, 0},
		recv{1, 100, 0, 0},
		fails{unix.EAGAIN, recv{0, 100, 0, 0}},
		fails{unix.ENXIO, send{1, bytesOfHello, nil}},
		fails{unix.EINVAL, send{0, noBytes, nil}},
		fails{unix.EINVAL, send{0, bytesOfHello, raw("\x11\x00")}},
	}},
	{"a tag in a frame is not found without its device", script{
		socket{0, unix.SOCK_DGRAM, unix.ETH_P_IP},
		socket{1, unix.SOCK_DGRAM, unix.ETH_P_802_2},
		set{1, unix.SOL_PACKET, unix.PACKET_AUXDATA, i32(1)},
		bindTo(1, tapIndex),
		send{0, bytesOfHello, raw("\x11\x00\x81\x00\x0a\x00\x00\x00\x00\x00\x00\x06\x02\x00\x00\x00\x00\x09\x00\x00")},
		recv{1, 100, 0, 200},
		send{0, bytesOfHello, raw("\x11\x00\x81\x00\x0a\x00\x00\x00\x00\x00\x00\x06\x02\x00\x00\x00\x00\x09\x00\x00")},
		device{tap0, goesAway},
		recv{1, 100, unix.MSG_PEEK, 200},
		recv{1, 100, 0, 200},
		recv{1, 100, 0, 200},
	}},
	{"memberships", script{
		open(0),
		set{0, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq{tapIndex, unix.PACKET_MR_MULTICAST, 6, "\x01\x00\x5e\x00\x00\xfb\x00\x00"}},
		set{0, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq{tapIndex, unix.PACKET_MR_MULTICAST, 6, "\x01\x00\x5e\x00\x00\xfb\x00\x00"}},
		fails{unix.EINVAL, set{0, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq{tapIndex, unix.PACKET_MR_MULTICAST, 5, "\x01\x00\x5e\x00\x00\xfb\x00\x00"}}},
		fails{unix.EINVAL, set{0, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq{tapIndex, unix.PACKET_MR_PROMISC, 9, "\x01\x00\x5e\x00\x00\xfb\x00\x00"}}},
		fails{unix.ENODEV, set{0, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq{nextIndex, unix.PACKET_MR_PROMISC, 0, "\x00\x00\x00\x00\x00\x00\x00\x00"}}},
		set{0, unix.SOL_PACKET, unix.PACKET_DROP_MEMBERSHIP, mreq{tapIndex, unix.PACKET_MR_UNICAST, 6, "\x01\x00\x5e\x00\x00\xfb\x00\x00"}}, // not there: no error
	}},
	{"a closed socket", script{
		open(0),
		closeSocket{0},
		fails{unix.EBADF, statistics(0, 8)},
		fails{unix.EBADF, bindTo(0, tapIndex)},
		fails{unix.EBADF, closeSocket{0}},
	}},
}

// largeSegment is one that is longer than devices take, in so many packets.
func largeSegment(dev string, kind uint8, n int) value {
	p := packet{proto: unix.ETH_P_IP, n: n, load: offload{needsCsum, kind, 40, 1448}}
	switch {
	case kind&^gsoECN == gsoTCPv6:
		p.proto, p.load.hdrLen = unix.ETH_P_IPV6, 60
	case kind == gsoUDP, kind == gsoUDPL4:
		p.load.hdrLen = 28
	}
	if dev == tap0 {
		p.load.hdrLen += 14
	}
	return offloaded{dev, p}
}

// Linux divides what devices do not take whole: other sockets see the parts.
func TestLargeSegmentsAreDivided(t *testing.T) {
	need.Serial(t)
	need.Time(t, "it sends large segments for seconds")
	kringtest.Run(t, func(*kring.Namespace) {
		kringtest.NeedDevices(t)
		var scripts []script
		for dev, index := range map[string]int{tap0: tapIndex, tun0: tunIndex} {
			for _, kind := range []uint8{gsoTCPv4, gsoTCPv4 | gsoECN, gsoTCPv6, gsoTCPv6 | gsoECN, gsoUDP, gsoUDPL4} {
				scripts = append(scripts, sendLargeSegments(dev, index, kind))
			}
		}
		for _, w := range []where{here, interposed} {
			inLabs(t, w, slices.Values(scripts), func(l *lab, sc script) {
				if err := l.play(sc, func(op, *party) bool { return false }); err != nil {
					t.Errorf("%s: %v", w.name, err)
				}
			})
		}
	})
}

// sendLargeSegments sends segments of one kind while two sockets are attached, one with vnet
// headers.
func sendLargeSegments(dev string, index int, kind uint8) script {
	sc := script{
		open(0),
		rxRing(0, req{1 << 20, 1, 2048, 512}),
		mmap{0},
		bindTo(0, index),
		open(1),
		set{1, unix.SOL_PACKET, unix.PACKET_VNET_HDR, i32(1)},
		rxRing(1, req{1 << 20, 1, 2048, 512}),
		mmap{1},
		bindTo(1, index),
		socket{2, unix.SOCK_RAW, 0},
		set{2, unix.SOL_PACKET, unix.PACKET_VNET_HDR, i32(1)},
		bind{2, sll{unix.AF_PACKET, index, map[bool]int{true: unix.ETH_P_IPV6, false: unix.ETH_P_IP}[kind&^gsoECN == gsoTCPv6]}},
	}
	for _, n := range []int{65521, 65522, 65535, 65536, 66000, 150000, 300000} {
		sc = append(sc, send{2, largeSegment(dev, kind, n), nil}, handBack{0, 512}, handBack{1, 512})
	}
	return sc
}

// What no memory is had for is refused before anything leaves.
func TestLongestSegment(t *testing.T) {
	need.Time(t, "it sends in the kernel for a second")
	kringtest.Run(t, func(*kring.Namespace) {
		kringtest.NeedDevices(t)
		for _, w := range []where{here, interposed} {
			l, err := newLab(w)
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			const longest = 4<<20 + 17*32<<10 - 336
			if err := l.play(script{
				socket{0, unix.SOCK_RAW, 0},
				set{0, unix.SOL_PACKET, unix.PACKET_VNET_HDR, i32(1)},
				bind{0, sll{unix.AF_PACKET, tapIndex, unix.ETH_P_IP}},
				fails{unix.EINVAL, send{0, oversized(longest), nil}},
				fails{unix.ENOBUFS, send{0, oversized(longest + 1), nil}},
				fails{unix.ENOBUFS, send{0, oversized(longest + 1<<20), nil}},
			}, func(op, *party) bool { return false }); err != nil {
				t.Errorf("%s: %v", w.name, err)
			}
		}
	})
}

// oversized is a large segment of n bytes that is of no kind that it says.
type oversized int

func (v oversized) bytes() []byte {
	b := make([]byte, 10+int(v))
	b[1], b[4] = gsoUDP, 100
	return b
}

func (v oversized) String() string { return fmt.Sprintf("oversized(%d)", int(v)) }

func TestStories(t *testing.T) {
	need.Time(t, "it waits for the timers of rings")
	kringtest.Run(t, func(*kring.Namespace) {
		kringtest.NeedDevices(t)
		for _, w := range []where{here, attached, interposed} {
			inLabs(t, w, slices.Values(stories), func(l *lab, s story) {
				if err := l.run(s.script); err != nil {
					t.Errorf("%s, %s: %v", w.name, s.name, err)
				}
			})
		}
		for _, b := range statusBits {
			if b.compared && seen.status.Load()&b.bit != b.bit {
				t.Errorf("no story's ring had %s", b.name)
			}
		}
	})
}
