package twin_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// piece is an Ethernet frame with a fragment of an IPv4 packet.
type piece struct {
	id         uint16
	start, end int  // bytes of the payload
	more, df   bool // IP_MF, IP_DF
	tos        byte
	options    int    // bytes, a multiple of 4
	padding    int    // bytes behind the packet
	cut        int    // bytes that are missing at the end
	ether      uint16 // 0: IPv4
	ihl        byte   // 0: as it must be
	dst        byte   // 0: to us
}

func (f piece) frame() []byte {
	ihl := 20 + f.options
	ether := f.ether
	if ether == 0 {
		ether = tpacket.ETHPIP
	}
	b := append([]byte{}, rxtest.OwnAddr[:]...)
	b[5] += f.dst
	b = append(append(b, rxtest.PeerAddr[:]...), byte(ether>>8), byte(ether))
	b[11] = byte(f.start) // whose link-layer header the whole packet has
	h := make([]byte, ihl)
	h[0], h[1], h[8], h[9] = 0x40|byte(ihl/4), f.tos, 64, 17
	if f.ihl != 0 {
		h[0] = 0x40 | f.ihl
	}
	binary.BigEndian.PutUint16(h[2:], uint16(ihl+f.end-f.start))
	binary.BigEndian.PutUint16(h[4:], f.id)
	frag := uint16(f.start / 8)
	if f.more {
		frag |= 0x2000
	}
	if f.df {
		frag |= 0x4000
	}
	binary.BigEndian.PutUint16(h[6:], frag)
	copy(h[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	for i := range f.options {
		h[20+i] = 1 // IPOPT_NOOP
	}
	var sum uint32
	for i := 0; i < ihl; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
	b = append(b, h...)
	for i := f.start; i < f.end; i++ {
		b = append(b, byte(i^i>>8))
	}
	return append(b, make([]byte, f.padding)...)[:len(b)+f.padding-f.cut]
}

// TestFragmentsReachMembersAsInTheKernel has every sequence of fragments go to a
// group of three that takes turns, and wants the same packets in the same rings.
func TestFragmentsReachMembersAsInTheKernel(t *testing.T) {
	need.Time(t, "it makes many calls on the kernel")
	f := func(start, end int, more bool) piece { return piece{start: start, end: end, more: more} }
	with := func(f piece, change func(*piece)) piece { change(&f); return f }
	first, middle, last := f(0, 64, true), f(64, 128, true), f(128, 150, false)
	whole := f(0, 100, false)
	between := func(n int) (fs []piece) {
		fs = []piece{first, middle}
		for i := range n {
			fs = append(fs, piece{id: uint16(1000 + i), end: 8, more: true})
		}
		return append(fs, last)
	}
	cases := []struct {
		name string
		in   []piece
		want int // packets that come out
	}{
		{"no fragments", []piece{whole, whole, whole}, 3},
		{"in order", []piece{first, middle, last}, 1},
		{"backwards", []piece{last, middle, first}, 1},
		{"two packets by turns", []piece{first, with(first, func(f *piece) { f.id = 1 }), with(last, func(f *piece) { f.id = 1 }), last, with(middle, func(f *piece) { f.id = 1 }), middle}, 2},
		{"one is missing", []piece{first, last}, 0},
		{"one comes twice", []piece{first, middle, middle, last}, 1},
		{"part of one comes again", []piece{first, middle, f(72, 80, true), last}, 1},
		{"what spans two that came in order comes again", []piece{first, middle, f(0, 128, true), last}, 1},
		{"what spans two that came backwards overlaps", []piece{middle, first, f(0, 128, true), last}, 0},
		{"an overlap ends the packet", []piece{first, f(56, 128, true), middle, last}, 0},
		{"an overlap ends the packet, not what comes after it", []piece{first, f(56, 128, true), first, middle, last}, 1},
		{"two ends", []piece{first, last, f(128, 160, false), middle}, 0},
		{"something beyond the end", []piece{last, f(144, 200, true), first, middle}, 0},
		{"an end before what is there", []piece{f(64, 256, true), last, first}, 0},
		{"no payload", []piece{first, f(64, 64, true), middle, last}, 0},
		{"not a multiple of 8 bytes", []piece{f(0, 69, true), f(64, 128, false)}, 1},
		{"longer than a packet can be", []piece{f(0, 65512, true), f(65512, 65516, false)}, 0},
		{"as long as a packet can be", []piece{f(0, 65512, true), f(65512, 65515, false)}, 1},
		{"congestion met", []piece{
			with(first, func(f *piece) { f.tos = 2 }), with(middle, func(f *piece) { f.tos = 3 }), with(last, func(f *piece) { f.tos = 1 })}, 1},
		{"both code points of those who know ECN", []piece{
			with(first, func(f *piece) { f.tos = 2 }), with(middle, func(f *piece) { f.tos = 1 }), with(last, func(f *piece) { f.tos = 1 })}, 1},
		{"code points that do not go together", []piece{first, with(middle, func(f *piece) { f.tos = 3 }), last}, 0},
		{"types of service", []piece{with(last, func(f *piece) { f.tos = 8 }), middle, with(first, func(f *piece) { f.tos = 16 })}, 1},
		{"do not fragment, said by the longest", []piece{with(first, func(f *piece) { f.df = true }), middle, last}, 1},
		{"do not fragment, said by a shorter one", []piece{first, middle, with(last, func(f *piece) { f.df = true })}, 1},
		{"options of the first", []piece{with(last, func(f *piece) { f.options = 8 }), middle, with(first, func(f *piece) { f.options = 40 })}, 1},
		{"padded frames", []piece{with(last, func(f *piece) { f.padding = 30 }), with(middle, func(f *piece) { f.padding = 1 }), with(first, func(f *piece) { f.padding = 7 })}, 1},
		{"a frame that is cut off is as it is", []piece{first, with(middle, func(f *piece) { f.cut = 3 }), middle, last}, 2},
		{"a header that makes no sense is as it is", []piece{first, with(middle, func(f *piece) { f.ihl = 4 }), middle, last}, 2},
		{"options beyond the packet", []piece{first, with(f(64, 72, true), func(f *piece) { f.ihl = 15 }), middle, last}, 2},
		{"only IPv4", []piece{first, with(middle, func(f *piece) { f.ether = tpacket.ETHPARP }), middle, last}, 2},
		{"to us and to others", []piece{first, with(middle, func(f *piece) { f.dst = 9 }), last}, 1},
		{"the first one to others", []piece{with(first, func(f *piece) { f.dst = 9 }), middle, last}, 1},
		{"many others of the source in between", between(64), 0},
		{"not as many", between(63), 1},
	}
	withTwins(t, func(w *twins) {
		for n, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				w := &twins{t, w.kernel, w.tap, w.ns, w.dev}
				rings := w.group(3, tpacket.ETHPAll, fanoutArgs(1, lb|flagDefrag, 0))
				got := 0
				for i, f := range c.in {
					f.id += uint16(1100 * n) // what is not whole yet waits for half a minute
					w.arrives(f.frame())
					for _, n := range compareAll(t, fmt.Sprintf("%s, fragment %d", c.name, i), rings) {
						got += n
					}
				}
				if got != c.want {
					t.Errorf("%d packets, want %d", got, c.want)
				}
				closeAll(t, rings)
			})
		}
	})
}

func TestFragmentsOfOtherKindsReachMembersAsInTheKernel(t *testing.T) {
	withTwins(t, func(w *twins) {
		raw := w.group(2, tpacket.ETHPAll, fanoutArgs(1, lb|flagDefrag, 0))
		f := []piece{{end: 64, more: true}, {start: 64, end: 100}}
		for _, at := range []int{0, 1} {
			w.leaves(tpacket.ETHPIP, f[at].frame())
			compareAll(t, "going out", raw)
		}
		for _, tag := range []uint16{5, 6} { // the first one's is shown
			b := f[tag-5].frame()
			w.arrives(rxtest.TaggedFrame(rxtest.OwnAddr, tpacket.ETHPIP, b[14:], tpacket.ETHP8021Q, tag))
			compareAll(t, "tagged", raw)
		}
		known := map[rxring.ChecksumState]kring.VnetHdr{
			rxring.ChecksumNone:    {},
			rxring.ChecksumPartial: {0: 1, 6: 34, 8: 6}, // VIRTIO_NET_HDR_F_NEEDS_CSUM, from byte 34 on, 6 further
			rxring.ChecksumValid:   {0: 2},              // VIRTIO_NET_HDR_F_DATA_VALID
		}
		for a, first := range known {
			for b, second := range known {
				for i, h := range []kring.VnetHdr{first, second} {
					rxtest.Must(t, w.tap.ReceiveOffloaded(h, f[i].frame()))
					w.dev.Deliver(&rxring.Packet{Data: f[i].frame(), Checksum: []rxring.ChecksumState{a, b}[i]})
					compareAll(t, fmt.Sprintf("of the checksum is known %d and %d", a, b), raw)
				}
			}
		}
		closeAll(t, raw)

		dgram := w.ring("dgram", rxring.SockDgram, tpacket.ETHPAll)
		w.join(dgram, fanoutArgs(2, lb|flagDefrag, 0))
		for _, at := range []int{1, 0} {
			w.arrives(f[at].frame())
			dgram.compare(t, "dgram, coming in")
		}
		for _, at := range []int{1, 0} {
			w.leaves(tpacket.ETHPIP, f[at].frame())
			dgram.compare(t, "dgram, going out")
		}
		dgram.close(t)

		program := w.group(3, tpacket.ETHPAll, fanoutArgs(3, cbpfMode|flagDefrag, 0))
		length := rxtest.KeepLen()
		rxtest.Must(t, kernelProgram(program[0].kernel.Socket, length), program[0].ours.SetFanoutProgram(length))
		for end := range 3 {
			w.arrives(f[0].frame())
			w.arrives(piece{start: 64, end: 100 + end}.frame())
			compareAll(t, "the program sees the whole packet", program)
		}
	})
}

// TestGroupsDoNotTakeEachOthersFragments is a difference that is wanted: Linux
// keeps the fragments of a namespace's groups in one place, so what one group has
// from the second group's copy completes the packet, and that other goes without.
func TestGroupsDoNotTakeEachOthersFragments(t *testing.T) {
	withTwins(t, func(w *twins) {
		groups := append(w.group(1, tpacket.ETHPAll, fanoutArgs(1, lb|flagDefrag, 0)), w.group(1, tpacket.ETHPAll, fanoutArgs(2, lb|flagDefrag, 0))...)
		w.arrives(piece{end: 64, more: true}.frame())
		w.arrives(piece{start: 64, end: 100}.frame())
		w.leaves(0x88b5, append(ether(0x88b5), "the last one"...)) // behind it the kernel has nothing to come
		kernel := 0
		for i, r := range groups {
			if got := r.ours.Totals().Captured; got != 2 {
				t.Errorf("group %d: %d packets, want the one of two fragments and the last one", i, got)
			}
			rxtest.Must(t, r.kernel.Wait(0, 5*time.Second))
			for at := uint32(0); r.kernel.Status(at) != tpacket.StatusKernel; at++ {
				kernel++
			}
		}
		if kernel != 3 {
			t.Errorf("%d packets in the kernel's groups, want 3: are there places of their own now? Then this difference can go", kernel)
		}
	})
}
