package gopacketsource_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
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

// A tag that a card, or rxring, takes out of a frame is in the AncillaryData, and only then.
func TestVLANTags(t *testing.T) {
	dev, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		t.Fatal(err)
	}
	for _, immediate := range []bool{false, true} {
		h, err := capture.OpenDevice(dev, capture.Config{Immediate: immediate, Retire: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		s := gopacketsource.New(h)
		const addrs = "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x02"
		for _, c := range []struct {
			packet rxring.Packet
			want   []any
		}{
			{rxring.Packet{Data: []byte(addrs + "\x88\xb5none")}, nil},
			{rxring.Packet{Data: []byte(addrs + "\x81\x00\x60\x05\x88\xb5in the frame")}, []any{gopacketsource.AncillaryVLAN{VLAN: 5, TPID: 0x8100, TCI: 0x6005}}},
			{rxring.Packet{Data: []byte(addrs + "\x88\xb5beside it"), VLAN: rxring.VLAN{TPID: 0x88a8, TCI: 4095}}, []any{gopacketsource.AncillaryVLAN{VLAN: 4095, TPID: 0x88a8, TCI: 4095}}},
			{rxring.Packet{Data: []byte(addrs + "\x88\xb5VLAN 0"), VLAN: rxring.VLAN{TPID: 0x8100}}, []any{gopacketsource.AncillaryVLAN{TPID: 0x8100}}},
		} {
			dev.Deliver(&c.packet)
			data, ci, err := s.ReadPacketData()
			if err != nil || !slices.Equal(ci.AncillaryData, c.want) {
				t.Errorf("immediate %v: %q: %+v, %v; want %+v", immediate, data, ci.AncillaryData, err, c.want)
			}
		}
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
