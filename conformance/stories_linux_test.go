package conformance

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/tpacket"
)

// fails is a step that the story says fails.
type fails struct {
	errno unix.Errno
	op    op
}

func (o fails) String() string { return fmt.Sprintf("fails{unix.%s, %v}", errnoName(o.errno), o.op) }

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
func statistics(s, n int) op {
	return get{s, unix.SOL_PACKET, unix.PACKET_STATISTICS, room(n)}
}

var (
	onePage = req{4096, 1, 512, 8}
	hello   = packet{proto: unix.ETH_P_IP, n: 60}

	// libpcap's filter while it sets another, and a filter for all.
	none = program{{Op: unix.BPF_RET | unix.BPF_K}}
	all  = program{{Op: unix.BPF_RET | unix.BPF_K, K: 262144}}
)

var stories = []struct {
	name   string
	script script
}{
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
		arrive{tap0, hello, 3},
		attach{0, all},
		arrive{tap0, hello, 3},
		leave{tap0, hello, 1},
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
		arrive{tap0, hello, 2},
		handBack{0, 1},
		statistics(0, 8),
		munmap{0},
	}},
	{"a mapped ring stays", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		fails{unix.EBUSY, rxRing(0, req{})},
		fails{unix.EBUSY, rxRing(0, req{4096, 2, 512, 16})},
		fails{unix.EINVAL, rxRing(0, raw("\x00"))},
		arrive{tap0, hello, 1},
		munmap{0},
		rxRing(0, req{}),
		rxRing(0, req{4096, 2, 512, 16}),
		mmap{0},
		arrive{tap0, hello, 20},
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
		arrive{tap0, hello, 1},
		arrive{tun0, hello, 1},
	}},
	{"offsets that tp_net cannot hold drop the packet", script{
		open(0),
		set{0, unix.SOL_PACKET, unix.PACKET_RESERVE, i32(65535)},
		rxRing(0, req{131072, 1, 131072, 1}),
		mmap{0},
		arrive{tap0, hello, 1},
		statistics(0, 8),
	}},
	{"statistics clear when they are read", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		arrive{tap0, hello, 5},
		statistics(0, 8),
		statistics(0, 8),
		arrive{tap0, hello, 5},
		statistics(0, 4), // too little room: still cleared
		statistics(0, 8),
		fails{unix.ENOPROTOOPT, set{0, unix.SOL_PACKET, unix.PACKET_STATISTICS, i32(0)}},
	}},
	{"LOSING lives from a drop until statistics are read", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		arrive{tap0, hello, 9},
		handBack{0, 3},
		arrive{tap0, hello, 1},
		statistics(0, 8),
		arrive{tap0, hello, 1},
	}},
	{"a reader hands slots back out of turn", script{
		open(0),
		rxRing(0, onePage),
		mmap{0},
		arrive{tap0, hello, 8},
		store{0, 5, tpacket.StatusKernel},
		arrive{tap0, hello, 1},
		store{0, 0, tpacket.StatusKernel},
		arrive{tap0, hello, 1},
		store{0, 1, 0xdead0000},
		arrive{tap0, hello, 1},
	}},
	{"an address that is not there stays in the slot", script{
		open(0),
		rxRing(0, req{4096, 1, 4096, 1}),
		mmap{0},
		arrive{tap0, hello, 1},
		handBack{0, 1},
		arrive{tun0, hello, 1}, // no address: the last one's is still there
	}},
	{"an empty packet is refused, unless a filter wants it", script{
		socket{0, unix.SOCK_DGRAM, unix.ETH_P_ALL},
		rxRing(0, onePage),
		mmap{0},
		arrive{tap0, packet{proto: unix.ETH_P_IP}, 1},
		attach{0, all},
		arrive{tap0, packet{proto: unix.ETH_P_IP}, 1},
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
	{"a closed socket", script{
		open(0),
		closeSocket{0},
		fails{unix.EBADF, statistics(0, 8)},
		fails{unix.EBADF, bindTo(0, tapIndex)},
		fails{unix.EBADF, closeSocket{0}},
	}},
}

func TestStories(t *testing.T) {
	kringtest.Run(t, func(*kring.Namespace) {
		kringtest.NeedDevices(t)
		l, err := newLab()
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		for _, story := range stories {
			if err := l.run(story.script); err != nil {
				t.Errorf("%s: %v", story.name, err)
			}
		}
	})
}
