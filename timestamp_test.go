package rxring_test

import (
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// TestTimestampsAreRealTime: a packet without a time gets that of its delivery, while writers of
// another ring read the same clock. In a ring, time does not go backwards.
func TestTimestampsAreRealTime(t *testing.T) {
	const tolerance = time.Microsecond
	for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2} {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
			_, rd := rxtest.Open(t, ns, rxring.SockRaw, v, rxtest.SmallRing)
			resolution := time.Nanosecond
			if v == tpacket.V1 {
				resolution = time.Microsecond
			}
			var last time.Time
			for i := range 20_000 {
				ps := []rxring.Packet{{Data: rxtest.Frame(64)}, {Data: rxtest.Frame(64)}}
				before := time.Now().Round(0) // the wall clock alone
				if i%2 == 0 {
					dev.Deliver(&ps[0])
					dev.Deliver(&ps[1])
				} else {
					dev.DeliverBatch(ps)
				}
				after := time.Now().Round(0)
				for range ps {
					f := rxtest.Next(t, rd)
					now := f.Time()
					if now.Before(before.Add(-tolerance-resolution)) || now.After(after.Add(tolerance)) {
						t.Fatalf("a packet delivered from %v to %v is of %v", before, after, now)
					}
					if now.Before(last.Add(-tolerance)) {
						t.Fatalf("a packet of %v follows one of %v", now, last)
					}
					last = now
					f.Release()
				}
			}
		})
	}
}
