package rxring_test

import (
	"testing"

	"github.com/rxring/rxring"
)

func TestDeviceIndexesCountUpFromTheFirst(t *testing.T) {
	for first, want := range map[int]int{0: 2, -1: 2, 1: 2, 2: 2, 1001: 1001} {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{FirstIndex: first})
		for i, name := range []string{"net0", "net1"} {
			d, err := ns.AddDevice(rxring.DeviceConfig{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			if d.Index() != want+i {
				t.Errorf("FirstIndex %d: %s has index %d, want %d", first, name, d.Index(), want+i)
			}
		}
	}
}
