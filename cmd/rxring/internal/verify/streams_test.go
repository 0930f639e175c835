package verify_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cmd/rxring/internal/verify"
	"github.com/rxring/rxring/source/netstack/streams"
	"github.com/rxring/rxring/tpacket"
)

func TestCaptureThroughAFewLargeSlotsHoldsNoTornPacket(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0", MaxLen: streams.MaxLen})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	// Two slots for segments of 64 KiB: the ring that Linux used to tear.
	const slot = 1 << 17
	if err := errors.Join(
		socket.SetVersion(tpacket.V2),
		socket.SetRxRing(tpacket.Req{BlockSize: slot, BlockNr: 2, FrameSize: slot, FrameNr: 2}),
	); err != nil {
		t.Fatal(err)
	}
	reader, err := socket.NewReader()
	if err != nil {
		t.Fatal(err)
	}

	source, err := streams.Start(dev, streams.Config{Flows: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	var file bytes.Buffer
	capture := pcapgo.NewWriter(&file)
	if err := capture.WriteFileHeader(1<<18, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 300 {
		if err := reader.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		f, _ := reader.Next()
		err := capture.WritePacket(gopacket.CaptureInfo{
			Timestamp: f.Time(), CaptureLength: len(f.Data), Length: f.Len,
		}, f.Data)
		f.Release()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}

	report, err := verify.Reader(&file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets, %d with payload of %d flows; %+v", report.Packets, report.Payload, report.Flows, socket.Totals())
	if report.Torn != 0 || report.Packets != 300 {
		t.Errorf("%d of %d packets torn: %v", report.Torn, report.Packets, report.Tears)
	}
	stats := source.Stats()
	if offered := socket.Totals().Offered(); offered != stats.SentFrames+stats.ReceivedFrames {
		t.Errorf("the socket was offered %d packets, the device was delivered %d and %d", offered, stats.SentFrames, stats.ReceivedFrames)
	}
}
