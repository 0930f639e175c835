//go:build linux

package netdev

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

func FuzzIfreq(f *testing.F) {
	f.Add([]byte("net0:1\x00..............\x01\x00\x00\x00"), uint32(unix.SIOCGIFINDEX))
	f.Add(slices.Repeat([]byte{'x'}, 40), uint32(unix.SIOCGIFNAME))
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	d, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, cmd uint32) {
		var r Ifreq
		copy(r[:], b)
		name := r.Name()
		if len(name) > 15 || strings.ContainsAny(name, ":\x00") {
			t.Errorf("name %q", name)
		}
		before := r
		if r.SetAddress(cmd, d) == 0 && (!bytes.Equal(r[:ifreqValue], before[:ifreqValue]) || name != "net0") {
			t.Errorf("% x became % x", before, r)
		}
		r.Set(cmd, d, 0)
		if cmd == unix.SIOCGIFNAME && r.Name() != "net0" {
			t.Errorf("name %q", r.Name())
		}
	})
}

func FuzzEthtool(f *testing.F) {
	for _, cmd := range []uint32{unix.ETHTOOL_GGSO, unix.ETHTOOL_GDRVINFO, unix.ETHTOOL_GET_TS_INFO, unix.ETHTOOL_GLINKSETTINGS, 0} {
		f.Add(cmd)
	}
	d, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, cmd uint32) {
		for _, words := range []byte{0, 4, 255} {
			req := make([]byte, SizeofLinkSettings)
			binary.NativeEndian.PutUint32(req, cmd)
			req[15] = words // of ETHTOOL_GLINKSETTINGS
			b, err := Ethtool(d, req)
			if err == nil && (len(b) < 8 || len(b) > 196 || binary.NativeEndian.Uint32(b) != cmd) {
				t.Errorf("command %#x: % x", cmd, b)
			}
		}
	})
}
