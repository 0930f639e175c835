package twin_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// ip6Packet is an IPv6 packet of n bytes with a TCP or UDP header in it.
func ip6Packet(protocol byte, n int) []byte {
	b := make([]byte, n)
	b[0], b[6], b[7] = 0x60, protocol, 64
	binary.BigEndian.PutUint16(b[4:], uint16(n-40))
	for i := 8; i < 40; i++ {
		b[i] = byte(i)
	}
	if protocol == 6 {
		b[52] = 5 << 4
	}
	for i := 60; i < n; i++ {
		b[i] = byte(i)
	}
	return b
}

// TestOffloadsAreSentAsFromTheKernel sends frames with all kinds of
// virtio_net_hdr, sensible ones and others.
func TestOffloadsAreSentAsFromTheKernel(t *testing.T) {
	need.Time(t, "it makes many calls on the kernel")
	withTwins(t, func(w *twins) {
		rxtest.Must(t, w.tap.KeepOffloads())
		rings := []*twinRing{
			w.ring("plain", rxring.SockRaw, tpacket.ETHPAll),
			w.ring("with header", rxring.SockRaw, tpacket.ETHPAll, packetInt{tpacket.OptVnetHdrSz, 10}),
		}
		rng := rand.New(rand.NewPCG(3, 6))
		pick := func(from ...uint16) uint16 { return from[rng.IntN(len(from))] }
		seen := 0
		for _, size := range []int32{10, 12} {
			s := w.sender(rxring.SockRaw, 0, true, packetInt{tpacket.OptVnetHdrSz, size})
			for i := range 2000 {
				n := []int{40, 60, 100, 1000, 1400, 3000, 9000, 20000, 65500}[rng.IntN(9)]
				n = max(n, 60)
				var ip []byte
				etherType, start := uint16(0x800), uint16(34)
				proto := []byte{6, 17, 1}[min(rng.IntN(9)/4, 2)]
				if rng.IntN(2) == 0 {
					etherType, start = 0x86dd, 54
					ip = ip6Packet(proto, n)
				} else {
					ip = ipPacket(proto, n)
				}
				frame := rxtest.Ethernet(etherType, 14+n)
				if rng.IntN(8) == 0 {
					frame = rxtest.TaggedFrame(rxtest.OwnAddr, etherType, ip, 0x8100, 5)
					start += 4
				} else {
					copy(frame[14:], ip)
				}
				if rng.IntN(20) == 0 {
					binary.BigEndian.PutUint16(frame[12:], pick(0, 0x806, 0x800, 0x86dd, 46))
				}
				kind, length, offset := byte(1), start+20, uint16(16)
				if proto == 17 {
					kind, length, offset = 5, start+8, 6
				} else if etherType == 0x86dd {
					kind = 4
				}
				h := vnetHeader(1, kind, length, pick(100, 536, 1000, 1400, 1448), start, offset)
				switch rng.IntN(6) {
				case 0:
					h[0] = 0
				case 1:
					h[rng.IntN(10)] = byte(rng.Uint32())
				case 2:
					h[1] = byte(pick(0, 1, 4, 5, 0x81, 0x84, 0x85, 2, 0x80))
				case 3:
					binary.LittleEndian.PutUint16(h[2+2*rng.IntN(4):], pick(0, 1, 13, 14, 20, 34, 54, uint16(n), uint16(n)+14, 0xffff, 0xfffe, start))
				}
				if h[1]&^0x80 == 3 {
					h[1] = 0 // Linux cuts it up
				}
				if proto == 6 && rng.IntN(8) == 0 {
					frame[int(start)+12] = byte(rng.Uint32()) // the length of the header
				}
				what := fmt.Sprintf("packet %d, header of %d bytes: % x, EtherType %#x, protocol %d, %d bytes", i, size, h, etherType, proto, len(frame))
				data := append(append(h[:len(h):len(h)], make([]byte, size-10)...), frame...)
				var to *tpacket.SockaddrLL
				if rng.IntN(4) == 0 {
					to = w.to(pick(0, 3, 0x800, 0x86dd, 0x8100))
				}
				s.sends(what, data, to)
				for _, r := range rings {
					seen += r.compare(t, what)
				}
				if t.Failed() {
					t.Logf("%+v", to)
					return
				}
			}
		}
		t.Logf("%d packets seen to leave", seen)
	})
}
