package twin_test

import (
	"encoding/binary"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// vnetHeader is a struct virtio_net_hdr as TAP devices take it.
func vnetHeader(flags, gso byte, hdrLen, gsoSize, start, offset uint16) (h kring.VnetHdr) {
	h[0], h[1] = flags, gso
	for i, v := range []uint16{hdrLen, gsoSize, start, offset} {
		binary.LittleEndian.PutUint16(h[2+2*i:], v)
	}
	return h
}

// ipPacket is an IPv4 packet of n bytes with a TCP or UDP header in it.
func ipPacket(protocol byte, n int) []byte {
	b := make([]byte, n)
	copy(b, []byte{0x45, 0, byte(n >> 8), byte(n), 0, 0, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1, 0x9c, 0x40, 0, 53})
	if protocol == 6 {
		b[32] = 5 << 4
	}
	for i := 40; i < n; i++ {
		b[i] = byte(i)
	}
	return b
}

// TestOffloadsShowInVnetHeadersAsInTheKernel has packets with offloads arrive.
func TestOffloadsShowInVnetHeadersAsInTheKernel(t *testing.T) {
	withTwins(t, func(w *twins) {
		rings := []*twinRing{
			w.ring("10 bytes", rxring.SockRaw, tpacket.ETHPAll, packetInt{tpacket.OptVnetHdr, 5}),
			w.ring("12 bytes", rxring.SockRaw, tpacket.ETHPAll, packetInt{tpacket.OptVnetHdrSz, 12}),
			w.ring("10 bytes behind a reserve, IPv4", rxring.SockRaw, tpacket.ETHPIP, packetInt{tpacket.OptVnetHdrSz, 10}, packetInt{tpacket.OptReserve, 7}),
			w.ring("none", rxring.SockRaw, tpacket.ETHPAll, packetInt{tpacket.OptVnetHdr, 1}, packetInt{tpacket.OptVnetHdrSz, 0}),
		}
		udp, tcp := ipPacket(17, 300), ipPacket(6, 300)
		plain := func(ip []byte) []byte { return rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip) }
		for _, c := range []struct {
			what  string
			frame []byte
			vnet  kring.VnetHdr
			p     rxring.Packet
		}{
			{"no offload", plain(udp), kring.VnetHdr{}, rxring.Packet{}},
			{"checksum to do", plain(udp), vnetHeader(1, 0, 0, 0, 34, 6),
				rxring.Packet{Checksum: rxring.ChecksumPartial, ChecksumStart: 34, ChecksumOffset: 6}},
			{"checksum to do behind a tag", rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, udp, 0x8100, 5), vnetHeader(1, 0, 0, 0, 38, 6),
				rxring.Packet{Checksum: rxring.ChecksumPartial, ChecksumStart: 38, ChecksumOffset: 6}},
			{"TCP segments", plain(tcp), vnetHeader(1, 1, 54, 100, 34, 16),
				rxring.Packet{Checksum: rxring.ChecksumPartial, ChecksumStart: 34, ChecksumOffset: 16, GSO: rxring.GSO{Type: rxring.GSOTCPv4, Size: 100, HdrLen: 54}}},
			{"TCP segments with ECN", plain(tcp), vnetHeader(1, 0x81, 54, 100, 34, 16),
				rxring.Packet{Checksum: rxring.ChecksumPartial, ChecksumStart: 34, ChecksumOffset: 16, GSO: rxring.GSO{Type: rxring.GSOTCPv4 | rxring.GSOECN, Size: 100, HdrLen: 54}}},
			{"TCP segments behind a tag", rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, tcp, 0x8100, 0), vnetHeader(1, 1, 58, 100, 38, 16),
				rxring.Packet{Checksum: rxring.ChecksumPartial, ChecksumStart: 38, ChecksumOffset: 16, GSO: rxring.GSO{Type: rxring.GSOTCPv4, Size: 100, HdrLen: 58}}},
			{"UDP segments", plain(udp), vnetHeader(1, 5, 42, 100, 34, 6),
				rxring.Packet{Checksum: rxring.ChecksumPartial, ChecksumStart: 34, ChecksumOffset: 6, GSO: rxring.GSO{Type: rxring.GSOUDPL4, Size: 100, HdrLen: 42}}},
			{"cut", plain(ipPacket(17, 1400)), vnetHeader(1, 0, 0, 0, 34, 6),
				rxring.Packet{Checksum: rxring.ChecksumPartial, ChecksumStart: 34, ChecksumOffset: 6}},
		} {
			rxtest.Must(t, w.tap.ReceiveOffloaded(c.vnet, c.frame))
			c.p.Data = c.frame
			w.dev.Deliver(&c.p)
			for _, r := range rings {
				if n := r.compare(t, c.what); n != 1 {
					t.Errorf("%s, %s: %d packets", c.what, r.name, n)
				}
			}
		}
	})
}

// TestFragmentedUDPHasNoVnetHeader: the header has no word for it, so the packet
// is dropped. In Linux its slot stays owned, and takes the ring with it.
func TestFragmentedUDPHasNoVnetHeader(t *testing.T) {
	withTwins(t, func(w *twins) {
		r := w.ring("10 bytes", rxring.SockRaw, tpacket.ETHPAll, packetInt{tpacket.OptVnetHdr, 1})
		frame := rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ipPacket(17, 300))
		rxtest.Must(t, w.tap.ReceiveOffloaded(vnetHeader(1, 3, 42, 100, 34, 6), frame))
		w.dev.Deliver(&rxring.Packet{Data: frame, Checksum: rxring.ChecksumPartial, ChecksumStart: 34, ChecksumOffset: 6, GSO: rxring.GSO{Type: rxring.GSOUDP, Size: 100, HdrLen: 42}})
		w.arrives(frame)
		t.Logf("the kernel's ring goes on: %v", r.kernel.Status(0) != tpacket.StatusKernel)
		f := tpacket.Header2At(r.frame())
		if st := r.ours.Statistics(); f.Status != tpacket.StatusUser|tpacket.StatusLosing || st.Packets != 2 || st.Drops != 1 {
			t.Errorf("status %#x, statistics %+v: want the second of two packets, LOSING", f.Status, st)
		}
	})
}
