package conformance

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/tpacket"
)

// differences are where rxring is not as the kernel, and is not meant to be.
// docs/compatibility.md has a line for each, under the same name. Generated
// scripts keep away from them: see unserved, and the generators.
var differences = []struct {
	name  string
	shown []shown
}{
	{"SOCK_PACKET", []shown{
		{script{socket{0, unix.SOCK_PACKET, unix.ETH_P_ALL}}, "0", "ESOCKTNOSUPPORT"},
	}},
	{"options of every socket", []shown{
		{script{open(0), get{0, unix.SOL_SOCKET, unix.SO_LINGER, room(8)}}, "8 00 00 00 00 00 00 00 00", "ENOPROTOOPT"},
		{script{open(0), get{0, unix.SOL_SOCKET, unix.SO_MEMINFO, room(4)}}, "4 00 00 00 00", "ENOPROTOOPT"},
		{script{open(0), get{0, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, room(8)}}, "8 00 00 00 00 00 00 00 00", "ENOPROTOOPT"},
	}},
	{"eBPF", []shown{
		{script{open(0), set{0, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, i32(-1)}}, "EBADF", "ENOPROTOOPT"},
	}},
	{"length after a peek", []shown{
		{script{
			open(0),
			set{0, unix.SOL_PACKET, unix.PACKET_AUXDATA, i32(1)},
			arrive{tap0, hello, 1, whole},
			recv{0, 0, unix.MSG_PEEK, 100},
			unscrubbed{recv{0, 0, 0, 100}},
		}, "07 01 00 00 08 00 00 00 01 00 00 00 11 00 08 00", "07 01 00 00 08 00 00 00 01 00 00 00 4a 00 00 00"},
	}},
	{"empty packet after a peek", []shown{
		{script{
			socket{0, unix.SOCK_DGRAM, unix.ETH_P_ALL},
			attach{0, all},
			arrive{tap0, packet{proto: unix.ETH_P_IP}, 1, whole},
			recv{0, 100, unix.MSG_PEEK, 0},
			recv{0, 100, unix.MSG_PEEK, 0},
		}, "EAGAIN", "0 00"},
	}},
	{"cost of a packet in the queue", []shown{
		{script{
			open(0),
			arrive{tun0, packet{proto: unix.ETH_P_IP, n: 6000, load: offload{needsCsum, gsoUDPL4, 28, 500}}, 40, whole},
			statistics(0, 8),
		}, "8 28 00 00 00", "8 28 00 00 00"},
	}},
	{"fragmented UDP in a vnet header", []shown{
		{script{
			open(0),
			set{0, unix.SOL_PACKET, unix.PACKET_VNET_HDR, i32(1)},
			rxRing(0, onePage),
			mmap{0},
			together{
				arrive{tap0, packet{proto: unix.ETH_P_IP, n: 1000, load: offload{needsCsum, gsoUDP, 42, 500}}, 1, whole},
				arrive{tap0, hello, 9, whole},
				handBack{0, 9}, // from the first frame on
			},
		}, "0", "8"},
	}},
	{"status of a block that the reader does not own", []shown{
		{script{
			open(0),
			version(0, 2),
			rxRing(0, req3{req{4096, 2, 1024, 8}, never, 0, 0}),
			mmap{0},
			together{
				store{0, 0, 1},
				arrive{tap0, packet{proto: unix.ETH_P_IP, n: 1400}, 3, whole},
				statistics(0, 12),
			},
		}, "12 03 00 00 00 03", "12 03 00 00 00 00 00 00 00 00"},
	}},
	{"empty packet in a transmit ring", []shown{
		{script{
			socket{0, unix.SOCK_DGRAM, 0},
			set{0, unix.SOL_PACKET, unix.PACKET_TX_RING, onePage},
			mmap{0},
			bindTo(0, tunIndex),
			fill{0, 0, noBytes, txHeader{length: -1, status: tpacket.StatusSendRequest}},
			send{0, noBytes, nil},
		}, "0", "EINVAL"},
	}},
	{"packet from a transmit ring in a queue", []shown{
		{script{
			socket{0, unix.SOCK_RAW, 0},
			set{0, unix.SOL_PACKET, unix.PACKET_TX_RING, onePage},
			mmap{0},
			bindTo(0, loIndex),
			fill{0, 0, raw("to......from..\x88\xb5sent"), txHeader{length: -1, status: tpacket.StatusSendRequest}},
			send{0, noBytes, nil},
			fill{0, 0, raw("to......from..\x88\xb5next"), txHeader{length: -1, status: tpacket.StatusSendRequest}},
			recv{0, 100, 0, 0},
		}, fmt.Sprintf("% x", "next"), fmt.Sprintf("% x", "sent")},
	}},
	{"full member of a rollover group", []shown{
		{script{
			open(0),
			rxRing(0, req{4096, 1, 2048, 2}),
			mmap{0},
			join(0, fanout{1, unix.PACKET_FANOUT_ROLLOVER, 0, -1}),
			open(1),
			rxRing(1, req{4096, 1, 2048, 2}),
			mmap{1},
			join(1, fanout{1, unix.PACKET_FANOUT_ROLLOVER, 0, -1}),
			together{
				arrive{tap0, hello, 3, whole},
				handBack{0, 2},
				arrive{tap0, hello, 2, whole},
				get{0, unix.SOL_PACKET, unix.PACKET_ROLLOVER_STATS, room(24)},
			},
		}, "24 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01", "24 05 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"},
	}},
}

// shown is a script whose last step differs, and what each side says there.
type shown struct {
	script         script
	kernel, rxring string // what is in it
}

// unscrubbed is a recv that is compared with everything.
type unscrubbed struct{ recv }

func (o unscrubbed) do(p *party) outcome {
	p.sockets[o.s].peeked = false
	return o.recv.do(p)
}

// together is several steps without a comparison between them.
type together []op

func (o together) do(p *party) (last outcome) {
	for _, o := range o {
		last = o.do(p)
	}
	return last
}

func (o together) String() string {
	var b strings.Builder
	b.WriteString("together{\n")
	for _, o := range o {
		fmt.Fprintf(&b, "\t\t%v,\n", o)
	}
	return b.String() + "\t}"
}

func TestDifferences(t *testing.T) {
	kringtest.Run(t, func(*kring.Namespace) {
		kringtest.NeedDevices(t)
		l, err := newLab(here)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		for _, known := range differences {
			for _, show := range known.shown {
				err := l.play(show.script, func(op, *party) bool { return false })
				var d *difference
				switch {
				case err == nil:
					t.Errorf("%s: there is no difference any more in %v", known.name, show.script)
				case !errors.As(err, &d):
					t.Errorf("%s: %v", known.name, err)
				case len(d.script) < len(show.script) || !strings.Contains(d.kernel, show.kernel) || !strings.Contains(d.rxring, show.rxring):
					t.Errorf("%s: want %q of the kernel and %q of rxring at the end: %v", known.name, show.kernel, show.rxring, d)
				}
			}
		}
	})
}
