package capture_test

import (
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
)

func newDevice(t *testing.T, c rxring.DeviceConfig) *rxring.Device {
	t.Helper()
	d, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// With Immediate, slots are as large as the device's packets need.
func TestSlotsFitTheLongestPacket(t *testing.T) {
	for what, c := range map[string]struct {
		device  rxring.DeviceConfig
		config  capture.Config
		snaplen int
	}{
		"Ethernet":         {rxring.DeviceConfig{}, capture.Config{Immediate: true}, 1500 + 14 + 8},
		"segments":         {rxring.DeviceConfig{MaxLen: 65535}, capture.Config{Immediate: true}, 65535 + 14 + 8},
		"BIG TCP":          {rxring.DeviceConfig{MaxLen: 185000}, capture.Config{Immediate: true}, 185000 + 14 + 8},
		"more than is had": {rxring.DeviceConfig{MaxLen: 500000}, capture.Config{Immediate: true}, 262144},
		"raw IP":           {rxring.DeviceConfig{Type: rxring.RawIP, MTU: 1280}, capture.Config{Immediate: true}, 1280},
		"what is asked":    {rxring.DeviceConfig{}, capture.Config{Immediate: true, Snaplen: 9000}, 9000},
		"blocks":           {rxring.DeviceConfig{}, capture.Config{}, 262144},
	} {
		t.Run(what, func(t *testing.T) {
			c.device.Name = "net0"
			d := newDevice(t, c.device)
			h, err := capture.OpenDevice(d, c.config)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			if got := h.Snaplen(); got != c.snaplen {
				t.Errorf("snaplen %d, want %d", got, c.snaplen)
			}
			longest := make([]byte, min(c.snaplen, d.MaxLen()+14))
			longest[0] = 0x45 // for raw IP
			d.Deliver(&rxring.Packet{Data: longest})
			if p, err := h.Next(soon(t)); err != nil || len(p.Data) != len(longest) {
				t.Errorf("%v, want %d bytes", err, len(longest))
			}
		})
	}
}

// Packets that are received while the reader sleeps for a quarter of a second, at 20,000 a
// second, fit into a ring of the default size, at any length.
func TestAReaderMaySleepALittle(t *testing.T) {
	const burst = 5000
	for _, size := range []int{200, 1514} {
		d := newDevice(t, rxring.DeviceConfig{Name: "net0"})
		h, err := capture.OpenDevice(d, capture.Config{Immediate: true})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		for range 2 { // two bursts, with a reader in between
			for range burst {
				d.Deliver(&rxring.Packet{Data: make([]byte, size)})
			}
			for range burst {
				if p, err := h.Next(soon(t)); err != nil || len(p.Data) != size {
					t.Fatalf("%v, want %d bytes", err, size)
				}
			}
		}
		if s, err := h.Stats(); err != nil || s.Packets != 2*burst || s.Drops != 0 {
			t.Errorf("%d bytes: %+v, %v", size, s, err)
		}
	}
}

// While packets are dropped, the reasons sum up to the drops counted so far, and at the end
// to all drops.
func TestReasonsSumUpToDrops(t *testing.T) {
	const packets = 200000
	d := newDevice(t, rxring.DeviceConfig{Name: "net0"})
	h, err := capture.OpenDevice(d, capture.Config{Immediate: true, Buffer: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range packets {
			d.Deliver(&rxring.Packet{Data: make([]byte, 60)})
		}
	}()
	for more := true; more; {
		select {
		case <-done:
			more = false
		default:
		}
		if s, err := h.Stats(); err != nil || s.Reasons.Sum() != s.Drops || s.Packets < s.Drops {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if s, err := h.Stats(); err != nil || s.Packets != packets || s.Drops == 0 {
		t.Errorf("%+v of %d, %v", s, packets, err)
	}
}
