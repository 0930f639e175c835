package twin_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// twinTxRing is a socket with a transmit ring on both sides.
type twinTxRing struct {
	*twinSender
	version tpacket.Version
	geo     tpacket.Geometry
	mem     [2][]byte // the kernel's, ours
}

func (w *twins) txRing(typ rxring.SockType, v tpacket.Version, protocol uint16, bound bool, req tpacket.Req, options ...packetInt) *twinTxRing {
	w.t.Helper()
	x := w.sender(typ, protocol, bound, append([]packetInt{{tpacket.OptVersion, int32(v)}}, options...)...)
	val := tpacket.Bytes(&req)
	if v == tpacket.V3 {
		val = tpacket.Bytes(&tpacket.Req3{Req: req})
	}
	rxtest.Must(w.t, x.kernel.SetOption(tpacket.OptTxRing, val), x.ours.Setsockopt(tpacket.SolPacket, tpacket.OptTxRing, val))
	r := &twinTxRing{twinSender: x, version: v, geo: x.ours.TxRing().Geometry()}
	mem, err := x.kernel.Map(r.geo.Size())
	rxtest.Must(w.t, err)
	w.t.Cleanup(func() { unix.Munmap(mem) })
	fd, err := x.ours.Map(r.geo.Size())
	rxtest.Must(w.t, err)
	mine, err := unix.Mmap(fd, 0, r.geo.Size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	rxtest.Must(w.t, err)
	w.t.Cleanup(func() { unix.Munmap(mine) })
	r.mem = [2][]byte{mem, mine}
	return r
}

// slot is what a program writes into a frame.
type slot struct {
	data     []byte
	length   uint32 // tp_len
	mac, net uint16
	next     uint32
	at       int // where data goes; 0: behind the header
	status   uint32
}

func (r *twinTxRing) put(i uint32, s slot) {
	for _, mem := range r.mem {
		b := mem[r.geo.FrameOffset(i):][:r.geo.FrameSize]
		clear(b)
		at := s.at
		if at == 0 {
			at = r.version.TxOffset()
		}
		copy(b[at:], s.data)
		switch r.version {
		case tpacket.V1:
			*tpacket.Header1At(b) = tpacket.Header1{Status: uint64(s.status), Len: s.length, Mac: s.mac, Net: s.net}
		case tpacket.V2:
			*tpacket.Header2At(b) = tpacket.Header2{Status: s.status, Len: s.length, Mac: s.mac, Net: s.net}
		case tpacket.V3:
			*tpacket.Header3At(b) = tpacket.Header3{Status: s.status, Len: s.length, Mac: s.mac, Net: s.net, NextOffset: s.next}
		}
	}
}

// whole is a frame that asks to be sent.
func whole(data []byte) slot {
	return slot{data: data, length: uint32(len(data)), status: tpacket.StatusSendRequest}
}

// send calls send on both sides and wants the same result, the same frames on the
// wire, and the same bytes in the ring.
func (r *twinTxRing) send(what string, to *tpacket.SockaddrLL) {
	r.t.Helper()
	var addr []byte
	if to != nil {
		addr = tpacket.Bytes(to)
	}
	want, errWant := r.kernel.SendTo(nil, addr, unix.MSG_DONTWAIT)
	if want < 0 { // Linux returns tp_len, which is no errno
		want, errWant = 0, syscall.Errno(-want)
	}
	got, errGot := r.ours.SendTo(nil, to)
	var errno syscall.Errno
	errors.As(errGot, &errno)
	if want != got || (errGot == nil) != (errWant == nil) || errGot != nil && errno != errWant {
		r.t.Errorf("%s: rxring %d, %v; kernel %d, %v", what, got, errGot, want, errWant)
	}
	r.compareWires(what)
	for i := range r.geo.FrameNr {
		at := r.geo.FrameOffset(i)
		if k, o := r.mem[0][at:at+int(r.geo.FrameSize)], r.mem[1][at:at+int(r.geo.FrameSize)]; !bytes.Equal(k, o) {
			r.t.Errorf("%s: frame %d of the ring: rxring\n% x\nkernel\n% x", what, i, clip(o), clip(k))
			copy(o, k)
		}
	}
}

var txReq = tpacket.Req{BlockSize: 4096, BlockNr: 4, FrameSize: 2048, FrameNr: 8}

// TestTransmitRingIsTheKernels walks through everything that a program can do with
// one.
func TestTransmitRingIsTheKernels(t *testing.T) {
	withTwins(t, func(w *twins) {
		other := w.ring("raw", rxring.SockRaw, tpacket.ETHPAll)
		good := whole(rxtest.Ethernet(0x800, 64))
		for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3} {
			for _, options := range [][]packetInt{nil, {{tpacket.OptLoss, 1}}, {{tpacket.OptQdiscBypass, 1}}} {
				name := fmt.Sprintf("%v %v: ", v, options)
				r := w.txRing(rxring.SockRaw, v, 0, true, txReq, options...)
				head := uint32(0)
				r.send(name+"nothing to send", nil)
				for _, c := range []struct {
					name string
					slot slot
				}{
					{"a frame", good},
					{"of the longest", whole(rxtest.Ethernet(0x800, 1514))},
					{"too long", whole(rxtest.Ethernet(0x800, 1515))},
					{"longer by a tag", whole(rxtest.Ethernet(0x8100, 1518))},
					{"too long for a tag", whole(rxtest.Ethernet(0x8100, 1519))},
					{"longer by a tag of another kind", whole(rxtest.Ethernet(0x88a8, 1518))},
					{"no header", whole(rxtest.Ethernet(0x800, 13))},
					{"a header", whole(rxtest.Ethernet(0x800, 14))},
					{"empty", whole(nil)},
					{"longer than its frame", slot{data: good.data, length: 2048, status: 1}},
					{"below zero", slot{data: good.data, length: 1<<32 - 22, status: 1}},
					{"far below zero", slot{data: good.data, length: 1 << 31, status: 1}},
					{"offsets that do not count", slot{data: good.data, length: 64, mac: 100, net: 200, status: 1}},
					{"a next frame", slot{data: good.data, length: 64, next: 64, status: 1}},
					{"available", slot{data: good.data, length: 64}},
					{"sending", slot{data: good.data, length: 64, status: 2}},
					{"wrong format", slot{data: good.data, length: 64, status: 4}},
					{"two statuses", slot{data: good.data, length: 64, status: 3}},
					{"a status of receive rings", slot{data: good.data, length: 64, status: 1<<31 | 1}},
				} {
					// The frame, and a good one behind it.
					r.put(head, c.slot)
					r.put((head+1)%8, good)
					r.send(name+c.name, nil)
					r.send(name+c.name+", again", nil)
					r.put(head, good)
					r.send(name+c.name+", put right", nil)
					other.compare(t, name+c.name)
					// Where the ring stands: behind the last frame that went out.
					for i := range uint32(8) {
						r.put(i, slot{})
					}
					head = r.findHead(name + c.name)
				}
				for i := range uint32(8) {
					r.put(i, good)
				}
				r.send(name+"a whole ring", nil)
				other.compare(t, name+"a whole ring")
				for _, to := range []*tpacket.SockaddrLL{w.to(0x1234), {Ifindex: 4711}, {Ifindex: int32(w.dev.Index()), Halen: 9}} {
					r.put(0, good)
					r.send(fmt.Sprintf("%sto %+v", name, to), to)
					other.compare(t, name)
				}
			}
		}
	})
}

// findHead finds the frame that comes next, on both sides the same one.
func (r *twinTxRing) findHead(what string) uint32 {
	r.t.Helper()
	for i := range r.geo.FrameNr {
		r.put(i, whole(rxtest.Ethernet(0x806, 20)))
		r.send(what+": looking for the head", nil)
		if tpacket.StatusAvailable == r.status(i) {
			return (i + 1) % r.geo.FrameNr
		}
		r.put(i, slot{})
	}
	r.t.Fatalf("%s: no frame is the head", what)
	return 0
}

func (r *twinTxRing) status(i uint32) uint32 {
	b := r.mem[0][r.geo.FrameOffset(i):]
	switch r.version {
	case tpacket.V1:
		return uint32(tpacket.Header1At(b).Status)
	case tpacket.V2:
		return tpacket.Header2At(b).Status
	}
	return tpacket.Header3At(b).Status
}

// TestTransmitRingOfAnyShapeIsTheKernels does anything at all with one: sockets of
// both types, frames of many sizes, offsets, headers of offloads.
func TestTransmitRingOfAnyShapeIsTheKernels(t *testing.T) {
	need.Time(t, "it makes many calls on the kernel")
	withTwins(t, func(w *twins) {
		rxtest.Must(t, w.tap.KeepOffloads())
		rng := rand.New(rand.NewPCG(7, 7))
		other := w.ring("raw", rxring.SockRaw, tpacket.ETHPAll)
		steps := 2000
		sent := 0
		for n := 0; n < steps; {
			v := tpacket.Version(rng.IntN(3))
			typ := rxring.SockRaw
			var options []packetInt
			if rng.IntN(2) == 0 {
				typ = rxring.SockDgram
			} else if rng.IntN(3) == 0 {
				options = append(options, packetInt{tpacket.OptVnetHdrSz, []int32{10, 12}[rng.IntN(2)]})
			}
			for _, o := range []int{tpacket.OptLoss, tpacket.OptTxHasOff, tpacket.OptQdiscBypass} {
				if rng.IntN(3) == 0 {
					options = append(options, packetInt{o, 1})
				}
			}
			size := []uint32{80, 128, 512, 1360, 2048, 4096}[rng.IntN(6)]
			req := tpacket.Req{BlockSize: 4096, BlockNr: 1 + rng.Uint32N(2), FrameSize: size}
			req.FrameNr = req.BlockNr * (req.BlockSize / size)
			r := w.txRing(typ, v, []uint16{0, 0x800, 0x8100}[rng.IntN(3)], rng.IntN(8) > 0, req, options...)
			for range 60 {
				n++
				for range 1 + rng.IntN(6) {
					i := rng.Uint32N(req.FrameNr)
					first := v.TxOffset()
					s := slot{status: 1, mac: uint16(first), net: uint16(first)}
					s.data = rxtest.Ethernet([]uint16{0x800, 0x806, 0x8100, 0, 46}[rng.IntN(5)], 14+rng.IntN(100))
					if rng.IntN(2) == 0 {
						s.data = rxtest.Ethernet(0x800, rng.IntN(1600))
					}
					if options != nil && options[0].option == tpacket.OptVnetHdrSz {
						s.data = append(make([]byte, options[0].value), s.data...)
						if rng.IntN(3) == 0 {
							rng.Uint32()
							copy(s.data, []byte{byte(rng.IntN(3)), byte(rng.IntN(3)) / 2 * 0x40, byte(rng.IntN(80)), 0, 0, 0, byte(rng.IntN(60)), 0, byte(rng.IntN(20)), 0})
						}
					}
					s.length = uint32(len(s.data))
					switch rng.IntN(12) {
					case 0:
						s.status = rng.Uint32N(6)
					case 1:
						s.length = uint32(rng.IntN(5000)) - 100
					case 2, 3, 4:
						off := first - 1 + rng.IntN(int(size)-first)
						s.mac, s.net, s.at = uint16(off), uint16(off), off
					case 5:
						s.mac, s.net = uint16(rng.Uint32()), uint16(rng.Uint32())
					case 6:
						s.next = rng.Uint32N(2)
					}
					r.put(i, s)
				}
				var to *tpacket.SockaddrLL
				if rng.IntN(3) > 0 {
					to = w.to([]uint16{0, 3, 0x800, 0x1234, 0x8100}[rng.IntN(5)], 2, 3, 4, 5, 6, 7)
				}
				r.send(fmt.Sprintf("step %d, %v, type %d, frames of %d bytes, %v", n, v, typ, size, options), to)
				sent += other.compare(t, fmt.Sprintf("step %d", n))
				if t.Failed() {
					return
				}
			}
			rxtest.Must(t, r.kernel.Close(), r.ours.Close())
		}
		if sent < steps/8 {
			t.Errorf("in %d steps %d frames were seen to leave: the test has lost some", steps, sent)
		}
		t.Logf("%d steps, %d frames seen to leave", steps, sent)
	})
}

// TestTransmitRingHoldsLargePackets: Linux makes a packet of at most 17 pages of
// its ring.
func TestTransmitRingHoldsLargePackets(t *testing.T) {
	withTwins(t, func(w *twins) {
		rxtest.Must(t, w.tap.KeepOffloads())
		const size = 1 << 17
		req := tpacket.Req{BlockSize: size, BlockNr: 2, FrameSize: size, FrameNr: 2}
		for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3} {
			r := w.txRing(rxring.SockRaw, v, 0, true, req, packetInt{tpacket.OptVnetHdr, 1}, packetInt{tpacket.OptTxHasOff, 1}, packetInt{tpacket.OptLoss, 0})
			head := uint32(0)
			for _, c := range []struct{ n, at int }{
				{1515, 100}, // with a header of offloads, no length is too long
				{9000, 100},
				{65535, 48},
				{4096*17 + 14, 4096 - 14 - 10},
				{4096*17 + 15, 4096 - 14 - 10},
				{4096*16 + 14 + 2, 4095 - 14 - 10},
				{4096*16 + 14 + 3, 4095 - 14 - 10},
			} {
				data := append(make([]byte, 10), rxtest.Ethernet(0x800, c.n)...)
				r.put(head, slot{data: data, length: uint32(len(data)), mac: uint16(c.at), at: c.at, status: 1})
				r.send(fmt.Sprintf("%v: %d bytes at offset %d", v, c.n, c.at), nil)
				if r.status(head) == tpacket.StatusAvailable {
					head = 1 - head
				}
			}
		}
	})
}
