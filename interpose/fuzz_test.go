//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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
		if again := layFilter(prog); !slices.Equal(again, b[:len(b)/sizeofFilter*sizeofFilter]) {
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

func FuzzMsghdr(f *testing.F) {
	whole := make([]byte, sizeofMsghdr)
	for at, v := range map[int]uint64{msghdrName: 0x1000, msghdrNameLen: 20, msghdrIov: 0x2000, msghdrIovLen: 2, msghdrControl: 0x3000, msghdrControlLen: 64} {
		binary.NativeEndian.PutUint64(whole[at:], v)
	}
	f.Add(whole, uint64(0x7fff0000))
	f.Add(slices.Repeat([]byte{0xff}, sizeofMsghdr), ^uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, addr uint64) {
		var h [sizeofMsghdr]byte
		copy(h[:], b)
		d, iovs, n, err := parseMsghdr(&h, addr)
		if err != nil {
			return
		}
		if n > maxIovecs || d.nameLen < 0 || d.name == 0 && d.nameLen != 0 || d.control == 0 && d.controlLen != 0 {
			t.Errorf("% x: %+v, %d iovecs at %#x", h, d, n, iovs)
		}
	})
}

func FuzzIovecs(f *testing.F) {
	f.Add([]byte{0, 0x10, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0})
	f.Add(slices.Repeat([]byte{0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0}, 8))
	f.Fuzz(func(t *testing.T, b []byte) {
		iovs, err := parseIovecs(b)
		if err != nil {
			return
		}
		total := uint64(0)
		for _, v := range iovs {
			total += v.len
		}
		if total > maxRW || len(iovs) != len(b)/sizeofIovec {
			t.Errorf("% x: %d iovecs of %d bytes", b, len(iovs), total)
		}
	})
}

func FuzzTimespec(f *testing.F) {
	f.Add(uint64(1), uint64(5e8))
	f.Add(^uint64(0), uint64(1e9))
	f.Fuzz(func(t *testing.T, sec, nsec uint64) {
		var b [16]byte
		binary.NativeEndian.PutUint64(b[:], sec)
		binary.NativeEndian.PutUint64(b[8:], nsec)
		d, err := parseTimespec(b)
		if err == nil && (d < 0 || nsec >= 1e9 || sec < 1e9 && d != time.Duration(sec*1e9+nsec)) {
			t.Errorf("%d s, %d ns: %v", sec, nsec, d)
		}
	})
}

func FuzzLinkDump(f *testing.F) {
	f.Add([]byte("\x11\x00\x00\x00\x12\x00\x01\x03\x01\x00\x00\x00\x00\x00\x00\x00\x00"), 3)
	f.Add([]byte("\x28\x00\x00\x00\x12\x00\x01\x03\x05\x00\x00\x00\x00\x00\x00\x00\x11\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x1d\x00\x01\x00\x00\x00"), 60)
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	var devices []*rxring.Device
	for i := range 100 {
		d, err := ns.AddDevice(rxring.DeviceConfig{Name: fmt.Sprintf("a-long-name%d", i), Type: []rxring.DeviceType{rxring.Ethernet, rxring.RawIP}[i%2]})
		if err != nil {
			f.Fatal(err)
		}
		devices = append(devices, d)
	}
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		seq, ok := parseLinkDump(b)
		if !ok {
			return
		}
		n = min(max(n, 0), len(devices))
		var told int
		for dump := (linkDump{seq: seq}); dump.next < n; {
			m, next := linkMessages(devices[:n], dump, 7)
			if len(m) == 0 || len(m) > maxLinkBytes {
				t.Fatalf("a datagram of %d bytes", len(m))
			}
			for len(m) > 0 {
				size := native32(m)
				if size > uint32(len(m)) || size%4 != 0 || native32(m[8:]) != seq || native32(m[12:]) != 7 || native32(m[20:]) != uint32(devices[told].Index()) {
					t.Fatalf("message for device %d: % x", told, m)
				}
				m = m[size:]
				told++
			}
			dump.next = next
		}
		if told != n {
			t.Errorf("%d of %d devices", told, n)
		}
	})
}
