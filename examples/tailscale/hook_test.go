package tailscale

import (
	"context"
	"net/netip"
	"testing"
	"time"

	wgtun "github.com/tailscale/wireguard-go/tun"
	"github.com/tailscale/wireguard-go/tun/tuntest"
	"tailscale.com/net/packet"
	"tailscale.com/net/tstun"
	"tailscale.com/util/eventbus/eventbustest"
	"tailscale.com/util/usermetric"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/source/tun"
	"github.com/rxring/rxring/tpacket"
)

// source/tun wraps the TUN devices of tailscale's fork of wireguard-go, too.
var _ wgtun.GRODevice = (*tun.Device[wgtun.Event])(nil)

// The hook of tailscale's own wrapper around a TUN device, with packets from a peer, and
// from tailscaled to one.
func TestTapDeliversWhatPassesTheEngine(t *testing.T) {
	w := tstun.Wrap(t.Logf, tuntest.NewChannelTUN().TUN(), new(usermetric.Registry), eventbustest.NewBus(t))
	defer w.Close()
	dev, err := Tap(rxring.NewNamespace(rxring.NamespaceConfig{}), w)
	if err != nil {
		t.Fatal(err)
	}
	write := func(n byte) { // without a filter, tailscale drops it after the hook
		w.Write([][]byte{append(make([]byte, tstun.PacketStartOffset), packetOf(n)...)}, tstun.PacketStartOffset)
	}
	write(1) // no socket is attached
	h, err := capture.OpenDevice(dev, capture.Config{Immediate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	write(2)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	p, err := h.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := p.Data[len(p.Data)-1]; n != 2 || p.From.Pkttype != tpacket.PacketHost {
		t.Errorf("packet %d of type %d: want the second, incoming", n, p.From.Pkttype)
	}
	p.Release()

	h.Close()
	if dev.HasListeners() {
		t.Fatal("a socket is left")
	}
	write(3)
	if in, _ := dev.Traffic(); in.Packets != 1 {
		t.Errorf("%d packets delivered, want 1", in.Packets)
	}
}

func TestCommentSaysWhatTheBytesDoNot(t *testing.T) {
	src := netip.MustParseAddrPort("192.168.1.5:40000")
	got := comment(packet.SynthesizedToPeer, packet.CaptureMeta{DidSNAT: true, OriginalSrc: src})
	if want := "made by tailscaled, source was 192.168.1.5:40000"; got != want {
		t.Errorf("comment %q, want %q", got, want)
	}
	if got := comment(packet.FromLocal, packet.CaptureMeta{}); got != "" {
		t.Errorf("comment %q of an ordinary packet", got)
	}
}

// packetOf returns a UDP packet over IPv4 with one byte of payload.
func packetOf(n byte) []byte {
	return []byte{
		0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 100, 64, 0, 1, 100, 64, 0, 2,
		0x13, 0x88, 0x17, 0x70, 0, 9, 0, 0, n,
	}
}
