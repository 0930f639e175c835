package rxring_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
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

func TestDevicesMayHaveAnotherDevicesIndex(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	var order []string
	for _, c := range []rxring.DeviceConfig{{Name: "far", Index: 77}, {Name: "near", Index: 3}, {Name: "next"}, {Name: "lo", Index: 1}} {
		if _, err := ns.AddDevice(c); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range ns.Devices() {
		order = append(order, fmt.Sprint(d.Name(), d.Index()))
	}
	if got := strings.Join(order, " "); got != "lo1 near3 far77 next78" {
		t.Errorf("devices %s, want them by index, and the next one behind all that were given", got)
	}
	for _, c := range []struct {
		index int
		want  error
		says  string
	}{
		{3, syscall.EEXIST, "index 3: want one that is not taken"},
		{-1, syscall.EINVAL, "index -1: want 1 to 1073741824"},
		{1<<30 + 1, syscall.EINVAL, "index 1073741825: want"},
	} {
		if _, err := ns.AddDevice(rxring.DeviceConfig{Name: "x", Index: c.index}); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("index %d: %v; want %v, %q", c.index, err, c.want, c.says)
		}
	}
}

func TestMaxLenIsTheMTUsOrMore(t *testing.T) {
	for _, c := range []struct {
		mtu, maxLen int
		want        int
		segments    bool
		says        string
	}{
		{mtu: 0, maxLen: 0, want: 1500},
		{mtu: 9000, maxLen: 0, want: 9000},
		{mtu: 9000, maxLen: 9000, want: 9000},
		{mtu: 1420, maxLen: 65535, want: 65535, segments: true},
		{mtu: 1420, maxLen: 524288, want: 524288, segments: true},
		{mtu: 0, maxLen: 1499, says: "MaxLen 1499: want 1500 (the MTU) to 524288 bytes, or 0 for the MTU"},
		{mtu: 0, maxLen: 524289, says: "MaxLen 524289: want 1500"},
		{mtu: 0, maxLen: -1, says: "MaxLen -1: want 1500"},
	} {
		d, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "x", MTU: c.mtu, MaxLen: c.maxLen})
		if c.says != "" {
			if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("MaxLen %d: %v, want EINVAL and %q", c.maxLen, err, c.says)
			}
			continue
		}
		if err != nil {
			t.Error(err)
		} else if d.MaxLen() != c.want || d.Segments() != c.segments {
			t.Errorf("MTU %d, MaxLen %d: %d, segments: %v", c.mtu, c.maxLen, d.MaxLen(), d.Segments())
		}
	}
}
