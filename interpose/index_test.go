package interpose

import (
	"net"
	"testing"
)

func TestFreeIndexIsNoDevices(t *testing.T) {
	free := FreeIndex()
	devices, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if d.Index >= free {
			t.Errorf("index %d is not free: %s has %d", free, d.Name, d.Index)
		}
	}
}
