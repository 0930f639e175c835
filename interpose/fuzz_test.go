//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
)

func FuzzFprog(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1})
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, addr, err := parseFprog(b)
		if err != nil {
			return
		}
		if len(b) != sizeofFprog || n < 1 || n > unix.BPF_MAXINSNS || addr != binary.NativeEndian.Uint64(b[8:]) {
			t.Errorf("% x: %d instructions at %#x", b, n, addr)
		}
	})
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte{6, 0, 0, 0, 0xff, 0xff, 0, 0})
	f.Add([]byte{6, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		prog := parseFilter(b)
		var again []byte
		for _, in := range prog {
			again = binary.NativeEndian.AppendUint16(again, in.Op)
			again = append(again, in.Jt, in.Jf)
			again = binary.NativeEndian.AppendUint32(again, in.K)
		}
		if !slices.Equal(again, b[:len(b)/sizeofFilter*sizeofFilter]) {
			t.Errorf("% x became % x", b, again)
		}
		cbpf.Compile(prog)
	})
}

func FuzzSockaddr(f *testing.F) {
	f.Add([]byte{17, 0, 0, 3, 2, 0, 0, 0, 1, 0, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0})
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	s, err := ns.Socket(rxring.SockRaw, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, err := parseSockaddr(b)
		if (err == nil) != (len(b) >= 20) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
		if err == nil {
			s.Bind(addr)
		}
	})
}

func FuzzIfreq(f *testing.F) {
	f.Add([]byte("net0:1\x00..............\x01\x00\x00\x00"), uint32(unix.SIOCGIFINDEX))
	f.Add(slices.Repeat([]byte{'x'}, 40), uint32(unix.SIOCGIFNAME))
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	d, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, cmd uint32) {
		var r ifreq
		copy(r[:], b)
		name := r.name()
		if len(name) > 15 || strings.ContainsAny(name, ":\x00") {
			t.Errorf("name %q", name)
		}
		s := session{ns: ns}
		for range 3 {
			s.addMissing(name)
			s.missingIndex(r.int32())
		}
		if len(s.missing) > 2 {
			t.Errorf("missing %q", s.missing)
		}
		r.fill(cmd, d)
		if cmd == unix.SIOCGIFNAME && r.name() != "net0" {
			t.Errorf("name %q", r.name())
		}
	})
}

func FuzzEthtool(f *testing.F) {
	for _, cmd := range []uint32{unix.ETHTOOL_GGSO, unix.ETHTOOL_GDRVINFO, unix.ETHTOOL_GET_TS_INFO, 0} {
		f.Add(cmd)
	}
	f.Fuzz(func(t *testing.T, cmd uint32) {
		b, err := ethtoolAnswer(cmd)
		if err == nil && (len(b) < 8 || len(b) > 196 || native32(b) != cmd) {
			t.Errorf("command %#x: % x", cmd, b)
		}
	})
}
