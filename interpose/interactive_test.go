//go:build linux && (amd64 || arm64)

package interpose

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/onecpu"
)

// An interactive tcpdump with libpcap's default buffer loses nothing of 20,000 packets a
// second, because its slots are no larger than the device's packets. A machine may be too
// busy for it once, but not five times.
func TestInteractiveTcpdumpLosesNothing(t *testing.T) {
	need.Time(t, "it runs programs for seconds")
	need.Program(t, "tcpdump")
	onecpu.Undo(t)
	for _, size := range []int{200, 1500} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			const attempts = 5
			for range attempts {
				o := interactive(t, size)
				s := o.Sockets[0]
				if s.Geometry.FrameNr < 1000 {
					t.Fatalf("%d slots of %d bytes", s.Geometry.FrameNr, s.Geometry.FrameSize)
				}
				if s.Totals.Captured == 10000 && s.Totals.Dropped() == 0 {
					return
				}
				t.Logf("%+v", s.Totals)
			}
			t.Errorf("some lost, %d times", attempts)
		})
	}
}

// interactive sends 10,000 packets to a tcpdump, and ends it.
func interactive(t *testing.T, size int) output {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	fed := make(chan struct{})
	feed := func() {
		defer close(fed)
		tick := time.NewTicker(time.Millisecond) // it does not catch up
		defer tick.Stop()
		p := make([]byte, size)
		for range 10000 / 20 {
			<-tick.C
			for range 20 {
				dev.Deliver(&rxring.Packet{Data: p})
			}
		}
		if dev.Drain(ctx) == nil {
			cancel()
		}
	}
	o := runContext(t, ctx, Config{Namespace: ns, Args: []string{"tcpdump", "-ni", "net0", "--immediate-mode", "-w", "/dev/null"}}, func(line string) {
		if strings.Contains(line, "listening on") {
			go feed()
		}
	})
	<-fed
	return o
}

// libpcap sizes slots by the MTU on Ethernet without segmentation offloads, and by the
// snaplen alone on other links.
func TestSlotsOfLibpcap(t *testing.T) {
	need.Time(t, "it runs tcpdump often")
	need.Program(t, "tcpdump")
	for what, c := range map[string]struct {
		device rxring.DeviceConfig
		args   []string
		least  uint32
		most   uint32
	}{
		"Ethernet":                 {rxring.DeviceConfig{}, nil, 1500, 1700},
		"Ethernet, jumbo frames":   {rxring.DeviceConfig{MTU: 9000}, nil, 9000, 9200},
		"Ethernet, segments":       {rxring.DeviceConfig{MaxLen: 65535}, nil, 65535, 65700},
		"Ethernet, segments, -s":   {rxring.DeviceConfig{MaxLen: 65535}, []string{"-s", "128"}, 128, 256},
		"raw IP":                   {rxring.DeviceConfig{Type: rxring.RawIP}, nil, 262144, 262300},
		"raw IP, -s":               {rxring.DeviceConfig{Type: rxring.RawIP}, []string{"-s", "1500"}, 1500, 1700},
		"Ethernet that is any, -s": {rxring.DeviceConfig{}, []string{"-i", "any", "-s", "1500"}, 1500, 1700},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c.device.Name = "net0"
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev, err := ns.AddDevice(c.device)
			if err != nil {
				t.Fatal(err)
			}
			args := append([]string{"tcpdump", "-n", "--immediate-mode", "-c", "1", "-w", "/dev/null"}, c.args...)
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			o := runContext(t, ctx, Config{Namespace: ns, Args: args}, func(line string) {
				if strings.Contains(line, "listening on") {
					dev.Deliver(&rxring.Packet{Data: append([]byte{0x45}, make([]byte, 99)...)})
				}
			})
			if g := o.Sockets[0].Geometry; g.FrameSize < c.least || g.FrameSize > c.most {
				t.Errorf("slots of %d bytes, want %d to %d", g.FrameSize, c.least, c.most)
			}
		})
	}
}

// If slots are far larger than packets, and some were dropped, the report says how long
// packets were.
func TestTheReportSaysHowLongPacketsWere(t *testing.T) {
	need.Time(t, "it runs many programs")
	need.Program(t, "tcpdump")
	inBothPlaces(t, func(t *testing.T, p place) {
		w := newWorld(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), bound)
		defer cancel()
		raw, err := w.ns.AddDevice(rxring.DeviceConfig{Name: "tun0", Type: rxring.RawIP})
		if err != nil {
			t.Fatal(err)
		}
		for w.at != nil { // until the client knows of it
			if _, ok := w.at.Namespace().DeviceByName("tun0"); ok || ctx.Err() != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		c := w.config("tcpdump", "-ni", "tun0", "--immediate-mode", "-c", "4", "-w", "/dev/null")
		o := runContext(t, ctx, c, func(line string) {
			if strings.Contains(line, "listening on") {
				for range 1000 {
					raw.Deliver(&rxring.Packet{Data: append([]byte{0x45}, make([]byte, 99)...)})
				}
			}
		})
		s := o.Sockets[0]
		if s.Totals.Dropped() == 0 || s.Longest != 100 || s.Geometry.FrameNr > 16 {
			t.Errorf("%v, longest %d bytes, want 8 slots or so, some dropped, and 100 bytes", s, s.Longest)
		}
	})
}
