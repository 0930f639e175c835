//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"net/netip"
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
		prog := cbpf.ParseBytes(b)
		if again := cbpf.AppendBytes(nil, prog); !slices.Equal(again, b[:len(b)/cbpf.SizeofInstruction*cbpf.SizeofInstruction]) {
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

func FuzzMissing(f *testing.F) {
	f.Add("net0", int32(7))
	f.Add("\xff\x1b[31m", int32(-1))
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	f.Fuzz(func(t *testing.T, name string, index int32) {
		s := session{ns: ns, cfg: &Config{Namespace: ns}}
		for range 3 {
			s.addMissing(name)
			s.missingIndex(index)
		}
		if len(s.reports.missing) > 2 {
			t.Errorf("missing %q", s.reports.missing)
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

func FuzzProcFile(f *testing.F) {
	f.Add([]byte("/proc/net/dev"))
	f.Add([]byte("/proc/self/net/ipv6_route"))
	f.Add([]byte("/proc/net/"))
	f.Add([]byte("/proc/net/dev\x00"))
	d, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "net0", Prefixes: []netip.Prefix{netip.MustParsePrefix("fe80::1/64")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		content, ok := procNetFile(path)
		if !ok {
			return
		}
		name := string(path)
		if !strings.HasPrefix(name, "/proc/") || len(name) >= maxPath {
			t.Errorf("%q is taken for a file of /proc/net", path)
		}
		if b := string(content([]*rxring.Device{d})); b != "" && !strings.HasSuffix(b, "\n") {
			t.Errorf("%s: %q", name, b)
		}
	})
}

func FuzzTimes(f *testing.F) {
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
		d, ok := parseTimeval(b[:])
		if ok != (nsec < 1e6) || ok && (d < forever || sec > 0 && sec < 1e9 && d != time.Duration(sec*1e9+nsec*1e3)) {
			t.Errorf("%d s, %d µs: %v, %v", sec, nsec, d, ok)
		}
		for n := range sizeofTimeval {
			if _, ok := parseTimeval(b[:n]); ok {
				t.Errorf("%d bytes are taken for a timeval", n)
			}
		}
	})
}
