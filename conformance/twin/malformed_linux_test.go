package twin_test

import (
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// malformed wants our device to count a packet as malformed if the kernel's refuses
// it, and to show it otherwise.
func (w *twins) malformed(r *twinRing, packet []byte) {
	w.t.Helper()
	before := r.ours.Totals()
	err := w.tap.Receive(packet)
	w.dev.Deliver(&rxring.Packet{Data: packet})
	after := r.ours.Totals()
	r.ours.Statistics() // no TP_STATUS_LOSING: the kernel's sender knows, its sockets do not
	refused := after.Drops[ring.Malformed] - before.Drops[ring.Malformed]
	if shown := after.Captured - before.Captured; (refused == 1) != (err != nil) || refused+shown != 1 {
		w.t.Errorf("% x: %d shown and %d dropped as malformed; the kernel's device: %v", packet, shown, refused, err)
	}
}

func TestMalformedFramesAreThoseThatATAPRefuses(t *testing.T) {
	withTwins(t, func(w *twins) {
		r := w.ring("all", rxring.SockRaw, tpacket.ETHPAll)
		for n := range 20 {
			w.malformed(r, make([]byte, n))
		}
		if n := r.compare(t, "what was shown"); n != 6 {
			t.Errorf("%d frames are shown, want those of 14 to 19 bytes", n)
		}
	})
}

func TestMalformedPacketsAreThoseThatATUNRefuses(t *testing.T) {
	withTunTwins(t, func(w *twins) {
		r := w.ring("all", rxring.SockRaw, tpacket.ETHPAll)
		for version := range 16 {
			for _, n := range []int{1, 19, 40} {
				packet := make([]byte, n)
				packet[0] = byte(version) << 4
				w.malformed(r, packet)
			}
		}
		w.malformed(r, nil)
		if n := r.compare(t, "what was shown"); n != 6 {
			t.Errorf("%d packets are shown, want those of versions 4 and 6", n)
		}
	})
}
