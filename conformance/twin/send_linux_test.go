package twin_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// wired is a frame as the far side of a device gets it.
type wired struct {
	offload kring.VnetHdr
	frame   []byte
}

// wire collects what our device transmits.
type wire struct {
	fail  error
	sent  []wired
	calls int
}

func (w *wire) transmit(p *rxring.Packet) error {
	w.calls++
	if w.fail != nil {
		return w.fail
	}
	f := wired{frame: bytes.Clone(p.Data)}
	if p.Checksum == rxring.ChecksumPartial {
		f.offload = vnetHeader(1, byte(p.GSO.Type), p.GSO.HdrLen, p.GSO.Size, p.ChecksumStart, p.ChecksumOffset)
	}
	w.sent = append(w.sent, f)
	return nil
}

// twinSender is a socket on both sides that sends.
type twinSender struct {
	*twins
	typ    rxring.SockType
	kernel *kring.Socket
	ours   *rxring.Socket
	wire   *wire
}

func (w *twins) sender(typ rxring.SockType, protocol uint16, bound bool, options ...packetInt) *twinSender {
	w.t.Helper()
	k, err := w.kernel.Socket(int(typ), 0)
	rxtest.Must(w.t, err)
	w.t.Cleanup(func() { k.Close() })
	s, err := w.ns.Socket(typ, 0)
	rxtest.Must(w.t, err)
	w.t.Cleanup(func() { s.Close() })
	for _, o := range options {
		rxtest.Must(w.t, k.SetInt(o.option, uint32(o.value)), s.Setsockopt(tpacket.SolPacket, o.option, rxtest.Int(o.value)))
	}
	if bound {
		rxtest.Must(w.t, k.Bind(w.dev.Index(), protocol), s.BindDevice(w.dev, protocol))
	}
	x := &twinSender{twins: w, typ: typ, kernel: k, ours: s, wire: new(wire)}
	w.dev.SetTransmit(x.wire.transmit)
	return x
}

// sends does the same on both sides and wants the same result and the same frame
// on the wire.
func (x *twinSender) sends(what string, frame []byte, to *tpacket.SockaddrLL) {
	x.t.Helper()
	before := bytes.Clone(frame)
	var addr []byte
	if to != nil {
		addr = tpacket.Bytes(to)
	}
	want, errWant := x.kernel.SendTo(frame, addr, unix.MSG_DONTWAIT)
	got, errGot := x.ours.SendTo(frame, to)
	var errno syscall.Errno
	errors.As(errGot, &errno)
	if errno == unix.ENOMEM && errWant == nil {
		// The kernel finds that the frame cannot be cut up behind a queue, when the
		// call is over: a device without one says it, too.
		errWant, want = errno, 0
	}
	if want != got || errGot == nil != (errWant == nil) || errGot != nil && errno != errWant {
		x.t.Errorf("%s: rxring %d, %v; kernel %d, %v", what, got, errGot, want, errWant)
	}
	if !bytes.Equal(before, frame) {
		x.t.Errorf("%s: the caller's frame was modified", what)
	}
	x.compareWires(what)
}

func (x *twinSender) compareWires(what string) {
	x.t.Helper()
	buf := make([]byte, 1<<17)
	for i := 0; ; i++ {
		h, n, err := x.tap.ReadOffloaded(buf)
		if err != nil {
			if i < len(x.wire.sent) {
				x.t.Errorf("%s: on our wire only:\n%s", what, hex.Dump(clip(x.wire.sent[i].frame)))
			}
			break
		}
		if i >= len(x.wire.sent) {
			x.t.Errorf("%s: on the kernel's wire only:\n%s", what, hex.Dump(clip(buf[:n])))
			continue
		}
		if got := x.wire.sent[i]; !bytes.Equal(got.frame, buf[:n]) {
			x.t.Errorf("%s: frame %d: rxring:\n%skernel:\n%s", what, i, hex.Dump(clip(got.frame)), hex.Dump(clip(buf[:n])))
		} else if [2]byte(h[:2]) != [2]byte(got.offload[:2]) || [6]byte(h[4:]) != [6]byte(got.offload[4:]) { // hdr_len is the kernel's own business
			x.t.Errorf("%s: frame %d: offloads: rxring % x, kernel % x", what, i, got.offload, h)
		}
	}
	x.wire.sent = nil
}

func clip(b []byte) []byte { return b[:min(len(b), 96)] }

func (w *twins) to(protocol uint16, addr ...byte) *tpacket.SockaddrLL {
	a := &tpacket.SockaddrLL{Family: tpacket.AFPacket, Protocol: tpacket.Htons(protocol), Ifindex: int32(w.dev.Index()), Halen: uint8(len(addr))}
	copy(a.Addr[:], addr)
	return a
}

// TestFramesLeaveAsFromTheKernel sends everything that a SOCK_RAW socket can get
// wrong and right: what the call returns, the frame on the wire, and what other
// sockets see of it.
func TestFramesLeaveAsFromTheKernel(t *testing.T) {
	withTwins(t, func(w *twins) {
		rings := []*twinRing{
			w.ring("raw", rxring.SockRaw, tpacket.ETHPAll),
			w.ring("dgram", rxring.SockDgram, tpacket.ETHPAll),
			w.ring("IPv4 only", rxring.SockRaw, tpacket.ETHPIP),
			w.ring("no outgoing ones", rxring.SockRaw, tpacket.ETHPAll, packetInt{tpacket.OptIgnoreOutgoing, 1}),
		}
		seen := 0
		compare := func(what string) {
			for i, r := range rings {
				n := r.compare(t, what)
				if seen += n; i >= 2 && n > 0 {
					t.Errorf("%s: %s sees %d frames", what, r.name, n)
				}
			}
		}
		marked := w.sender(rxring.SockRaw, 0, true)
		rxtest.Must(t, unix.SetsockoptInt(marked.kernel.FD, unix.SOL_SOCKET, unix.SO_MARK, 77), marked.ours.Setsockopt(unix.SOL_SOCKET, unix.SO_MARK, rxtest.Int(77)))
		rxtest.Must(t, unix.SetsockoptInt(marked.kernel.FD, unix.SOL_SOCKET, unix.SO_PRIORITY, 7), marked.ours.Setsockopt(unix.SOL_SOCKET, unix.SO_PRIORITY, rxtest.Int(7)))
		byMark := w.ring("marked frames", rxring.SockRaw, tpacket.ETHPAll)
		prog := []cbpf.Instruction{{Op: cbpf.OpLdAbsW, K: cbpf.AdOff + 20}, {Op: cbpf.OpRetA}} // SKF_AD_MARK
		rxtest.Must(t, unix.SetsockoptSockFprog(byMark.kernel.FD, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, cbpf.SockFprog(prog)),
			byMark.ours.AttachFilter(prog))
		marked.sends("marked", rxtest.Ethernet(0x800, 100), nil)
		if n := byMark.compare(t, "marked"); n != 1 {
			t.Errorf("%d frames by their mark", n)
		}
		compare("marked")
		for _, s := range []struct {
			name string
			*twinSender
		}{
			{"bound", w.sender(rxring.SockRaw, 0, true)},
			{"bound to ETH_P_ALL", w.sender(rxring.SockRaw, tpacket.ETHPAll, true)},
			{"bound to IPv4", w.sender(rxring.SockRaw, tpacket.ETHPIP, true)},
			{"bound to 802.1Q", w.sender(rxring.SockRaw, tpacket.ETHP8021Q, true)},
			{"unbound", w.sender(rxring.SockRaw, tpacket.ETHPAll, false)},
		} {
			w.dev.SetTransmit(s.wire.transmit)
			for _, etherType := range []uint16{0x800, 0x806, 0x86dd, 0x8100, 0x88a8, 0x1234, 0, 3, 46, 0x5ff, 0x600} {
				for _, n := range []int{14, 15, 18, 60, 1514, 1515, 1518, 1519, 4000} {
					what := fmt.Sprintf("%s, EtherType %#x, %d bytes", s.name, etherType, n)
					s.sends(what, rxtest.Ethernet(etherType, n), nil)
					compare(what)
				}
			}
			for n := range 14 {
				s.sends(fmt.Sprintf("%s, %d bytes", s.name, n), rxtest.Ethernet(0x800, n), nil)
			}
			for _, c := range []struct {
				name  string
				to    *tpacket.SockaddrLL
				frame []byte
			}{
				{"to a protocol of no frame", w.to(0), rxtest.Ethernet(0x806, 60)},
				{"to all protocols", w.to(tpacket.ETHPAll), rxtest.Ethernet(0x806, 60)},
				{"to another protocol", w.to(0x1234), rxtest.Ethernet(0x806, 60)},
				{"to a tag's protocol", w.to(tpacket.ETHP8021Q), rxtest.Ethernet(0x800, 60)},
				{"to a tag's protocol, with a tag", w.to(tpacket.ETHP8021Q), rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ipPacket(17, 60), 0x8100, 7)},
				{"with two tags", w.to(0), rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ipPacket(17, 60), 0x88a8, 3, 0x8100, 7)},
				{"as IPv4, with a tag", w.to(tpacket.ETHPIP), rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ipPacket(17, 60), 0x8100, 7)},
				{"with an address", w.to(0, 2, 3, 4, 5, 6, 7), rxtest.Ethernet(0x800, 60)},
				{"with 8 bytes of address", w.to(0, 2, 3, 4, 5, 6, 7, 8, 9), rxtest.Ethernet(0x800, 60)},
				{"with 9 bytes of address", &tpacket.SockaddrLL{Ifindex: int32(w.dev.Index()), Halen: 9}, rxtest.Ethernet(0x800, 60)},
				{"of no family", &tpacket.SockaddrLL{Ifindex: int32(w.dev.Index())}, rxtest.Ethernet(0x800, 60)},
				{"to no device", &tpacket.SockaddrLL{Family: tpacket.AFPacket}, rxtest.Ethernet(0x800, 60)},
				{"to a device that is not there", &tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: 4711}, rxtest.Ethernet(0x800, 60)},
				{"to a device below zero", &tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: -1}, rxtest.Ethernet(0x800, 60)},
				{"too long to a device that is not there", &tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: 4711}, rxtest.Ethernet(0x800, 4000)},
				{"too short", w.to(0x800), rxtest.Ethernet(0x800, 13)},
			} {
				what := s.name + ", " + c.name
				s.sends(what, c.frame, c.to)
				compare(what)
			}
		}
		if seen < 400 {
			t.Errorf("other sockets saw %d frames: the test has lost some", seen)
		}
		t.Logf("other sockets saw %d frames", seen)
	})
}

// TestDatagramsLeaveAsFromTheKernel: SOCK_DGRAM, where the socket makes the header.
func TestDatagramsLeaveAsFromTheKernel(t *testing.T) {
	withTwins(t, func(w *twins) {
		rings := []*twinRing{
			w.ring("raw", rxring.SockRaw, tpacket.ETHPAll),
			w.ring("dgram", rxring.SockDgram, tpacket.ETHPAll),
		}
		bound, unbound := w.sender(rxring.SockDgram, tpacket.ETHPIP, true), w.sender(rxring.SockDgram, 0, false)
		for _, protocol := range []uint16{0, 1, 2, 3, 4, 5, 0x5ff, 0x600, 0x800, 0x806, 0x8100, 0x88a8, 0xffff} {
			for _, n := range []int{0, 1, 2, 46, 1500, 1501, 1504, 1505, 5000} {
				for _, addr := range [][]byte{{2, 3, 4, 5, 6, 7}, {}, {2, 3, 4, 5}} {
					what := fmt.Sprintf("protocol %#x, %d bytes, to % x", protocol, n, addr)
					w.dev.SetTransmit(unbound.wire.transmit)
					unbound.sends(what, ipPacket(17, 5000)[:n], w.to(protocol, addr...))
					for _, r := range rings {
						r.compare(t, what)
					}
				}
			}
		}
		w.dev.SetTransmit(bound.wire.transmit)
		bound.sends("no address", ipPacket(17, 60), nil)
		bound.sends("no address, no bytes", nil, nil)
		bound.sends("no address, too long", ipPacket(17, 1501), nil)
		bound.sends("no address, too long even for a tag", ipPacket(17, 1505), nil)
		unbound.sends("no address, unbound", ipPacket(17, 60), nil)
		for _, r := range rings {
			r.compare(t, "without address")
		}
	})
}

// TestPacketsLeaveARawIPDeviceAsFromTheKernel: no link-layer header, for either
// type of socket.
func TestPacketsLeaveARawIPDeviceAsFromTheKernel(t *testing.T) {
	withTunTwins(t, func(w *twins) {
		rings := []*twinRing{
			w.ring("raw", rxring.SockRaw, tpacket.ETHPAll),
			w.ring("dgram", rxring.SockDgram, tpacket.ETHPAll),
		}
		seen := 0
		for _, typ := range []rxring.SockType{rxring.SockRaw, rxring.SockDgram} {
			for _, protocol := range []uint16{0, tpacket.ETHPAll, tpacket.ETHPIPv6} {
				s := w.sender(typ, protocol, true)
				for _, first := range []byte{0x45, 0x60, 0x10, 0xff} {
					for _, n := range []int{0, 1, 19, 20, 39, 40, 1500, 1501, 1504, 1505} {
						packet := append([]byte{first}, make([]byte, 1600)...)[:n]
						for i, to := range []*tpacket.SockaddrLL{nil, w.to(0), w.to(tpacket.ETHPAll), w.to(0x1234, 1, 2)} {
							what := fmt.Sprintf("type %d, protocol %#x, %d bytes of % x, address %d", typ, protocol, n, first, i)
							s.sends(what, packet, to)
							for _, r := range rings {
								seen += r.compare(t, what)
							}
						}
					}
				}
			}
		}
		if seen < 1000 {
			t.Errorf("other sockets saw %d packets: the test has lost some", seen)
		}
		for _, typ := range []rxring.SockType{rxring.SockRaw, rxring.SockDgram} {
			r := w.txRing(typ, tpacket.V2, 0, true, txReq)
			for i, n := range []int{1500, 20, 1} {
				r.put(uint32(i), whole(make([]byte, n)))
			}
			r.send(fmt.Sprintf("type %d, transmit ring", typ), nil)
			r.put(3, whole(make([]byte, 1501)))
			r.send(fmt.Sprintf("type %d, transmit ring, too long", typ), nil)
		}
	})
}
