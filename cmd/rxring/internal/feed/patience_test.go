package feed

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// A file waits for a slow reader, and not for a socket that is not read.
func TestPatienceIsForReaders(t *testing.T) {
	for _, tt := range []struct {
		name   string
		paced  bool
		read   bool // before the socket is full
		gaveUp time.Duration
	}{
		{"no socket was read", false, false, unreadPatience},
		{"a reader that stopped", false, true, 0},
		{"no socket was read, at a speed", true, false, pacedPatience},
		{"a reader that stopped, at a speed", true, true, pacedPatience},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ns := rxring.NewNamespace(rxring.NamespaceConfig{})
				dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
				if err != nil {
					t.Fatal(err)
				}
				s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				fill := func() {
					for range 1000 {
						dev.Deliver(&rxring.Packet{Data: make([]byte, 1000)})
					}
				}
				p := patience{devices: []*rxring.Device{dev}, paced: tt.paced}
				if p.room(1) == 0 {
					t.Error("waits where there is room")
				}
				if tt.read {
					dev.Deliver(&rxring.Packet{Data: make([]byte, 1000)})
					s.Discard()
				}
				fill()
				const never = 10 * time.Second
				start := time.Now()
				for p.room(1) == 0 && time.Since(start) < never {
					time.Sleep(time.Millisecond)
				}
				want := tt.gaveUp
				if want == 0 {
					want = never
				}
				if got := time.Since(start); got != want {
					t.Errorf("held for %v, want %v", got, want)
				}
				// Once there was room again the socket is waited for again.
				for s.Discard(); !s.HasRoom(1); s.Discard() {
				}
				if p.room(1) == 0 {
					t.Error("waits where there is room again")
				}
				fill()
				if p.room(1) > 0 {
					t.Error("does not wait for a socket that has been read meanwhile")
				}
			})
		})
	}
}
