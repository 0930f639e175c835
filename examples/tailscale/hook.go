// Package tailscale shows how tailscaled, or a program with tsnet, could offer its packets to
// tcpdump. Its capture hook needs no wrapper: InstallCaptureHook calls one function with every
// packet, which is all that a device wants.
package tailscale

import (
	"strings"
	"sync"
	"time"

	"tailscale.com/net/packet"

	"github.com/rxring/rxring"
)

// Engine is implemented by tailscale's wgengine.Engine and *tstun.Wrapper.
type Engine interface {
	InstallCaptureHook(packet.CaptureCallback)
}

// Tap adds the device tailscale0 to ns, to which e's packets are delivered. The hook is
// installed only while a socket is attached: until then, e's packets cost what they did.
//
// The engine has one hook: while it is ours, `tailscale debug capture` receives nothing.
func Tap(ns *rxring.Namespace, e Engine) (*rxring.Device, error) {
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "tailscale0", Type: rxring.RawIP, MTU: 1280})
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex // calls of the function may be concurrent and out of order
	installed := false
	dev.OnInterestChange(func() {
		mu.Lock()
		defer mu.Unlock()
		switch want := dev.HasListeners(); {
		case want == installed:
		case want:
			e.InstallCaptureHook(hook(dev))
			installed = true
		default:
			e.InstallCaptureHook(nil)
			installed = false
		}
	})
	return dev, nil
}

// hook returns the function that delivers to dev.
func hook(dev *rxring.Device) packet.CaptureCallback {
	return func(path packet.CapturePath, when time.Time, data []byte, meta packet.CaptureMeta) {
		if path == packet.PathDisco {
			return // no IP packet: a message of magicsock
		}
		dev.Deliver(&rxring.Packet{
			Data:      data,
			Timestamp: when.UnixNano(),
			Outgoing:  path == packet.FromLocal || path == packet.SynthesizedToPeer,
			Comment:   comment(path, meta), // `rxring dump` writes it beside the packet
		})
	}
}

// comment returns what tailscale knows of a packet beside its bytes, "" for most.
func comment(path packet.CapturePath, meta packet.CaptureMeta) string {
	var facts []string
	if path == packet.SynthesizedToLocal || path == packet.SynthesizedToPeer {
		facts = append(facts, "made by tailscaled")
	}
	if meta.DidSNAT {
		facts = append(facts, "source was "+meta.OriginalSrc.String())
	}
	if meta.DidDNAT {
		facts = append(facts, "destination was "+meta.OriginalDst.String())
	}
	return strings.Join(facts, ", ")
}
