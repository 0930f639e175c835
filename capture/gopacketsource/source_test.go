package gopacketsource_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/capture/gopacketsource"
)

// udp is an IPv4 packet from 192.0.2.1 to 192.0.2.2.
var udp = []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 53, 0, 8, 0, 0}

func open(config capture.Config) (*rxring.Device, *capture.Handle, error) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP})
	if err != nil {
		return nil, nil, err
	}
	h, err := capture.OpenDevice(dev, config)
	return dev, h, err
}

func TestSource(t *testing.T) {
	for _, immediate := range []bool{false, true} {
		t.Run(fmt.Sprintf("immediate=%v", immediate), func(t *testing.T) {
			dev, h, err := open(capture.Config{Immediate: immediate, Retire: time.Millisecond, Snaplen: 24})
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			before := time.Now().Add(-time.Second)
			dev.Deliver(&rxring.Packet{Data: udp})
			dev.Deliver(&rxring.Packet{Data: udp})

			s := gopacketsource.New(h)
			data, ci, err := s.ReadPacketData()
			if err != nil {
				t.Fatal(err)
			}
			if string(data) != string(udp[:24]) || ci.CaptureLength != 24 || ci.Length != len(udp) ||
				ci.InterfaceIndex != dev.Index() || ci.Timestamp.Before(before) || ci.Timestamp.After(time.Now().Add(time.Second)) {
				t.Errorf("% x, %+v", data, ci)
			}
			if data, _, err = s.ZeroCopyReadPacketData(); err != nil || string(data) != string(udp[:24]) {
				t.Errorf("in place: % x, %v", data, err)
			}

			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.ReadPacketData(); !errors.Is(err, io.EOF) {
				t.Errorf("ReadPacketData of a closed handle: %v", err)
			}
			if _, _, err := s.ZeroCopyReadPacketData(); !errors.Is(err, io.EOF) {
				t.Errorf("ZeroCopyReadPacketData of a closed handle: %v", err)
			}
		})
	}
}

func ExampleNew() {
	dev, h, err := open(capture.Config{Immediate: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close()
	dev.Deliver(&rxring.Packet{Data: udp})

	packets := gopacket.NewPacketSource(gopacketsource.New(h), layers.LayerTypeIPv4)
	packet, err := packets.NextPacket()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(packet.NetworkLayer().NetworkFlow(), packet.TransportLayer().TransportFlow())
	// Output: 192.0.2.1->192.0.2.2 1->53
}
