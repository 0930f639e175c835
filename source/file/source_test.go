package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/tpacket"
)

// Full speed, a ring of 64 slots and a reader that is slow: with Room, which knows
// how far the reader is, nothing is lost.
func TestRoomLosesNothingAtFullSpeed(t *testing.T) {
	const packets, slots = 20000, 64
	w := open(t, frames(t, packets, 1)).look(t, slots)
	var read atomic.Uint64
	s := w.start(t, Config{Room: func(n int) int {
		return min(n, int(slots-w.socket.Totals().Captured+read.Load()))
	}})
	want, got := inFile(t, w.file.path), 0
	for got < packets {
		for _, p := range w.read() {
			if p != want[got] {
				t.Fatalf("packet %d is %+v, want %+v", got, p, want[got])
			}
			got++
		}
		read.Store(uint64(got))
		select {
		case <-s.Done():
			if got += len(w.read()); got != packets {
				t.Fatalf("%d packets, totals %+v", got, w.socket.Totals())
			}
		default:
		}
	}
	<-s.Done()
	if totals := w.socket.Totals(); totals.Dropped() != 0 || totals.Captured != packets {
		t.Errorf("totals %+v", totals)
	}
}

func TestReaderThatIsFullIsNotWaitedFor(t *testing.T) {
	w := open(t, frames(t, 1000, 1)).look(t, 16)
	s := w.start(t, Config{})
	<-s.Done()
	if totals := w.socket.Totals(); totals.Captured != 16 || totals.Dropped() != 984 || s.Stats().Packets != 1000 {
		t.Errorf("totals %+v, stats %+v", totals, s.Stats())
	}
}

func TestForeverIsUntilClose(t *testing.T) {
	w := open(t, frames(t, 10, 1)).look(t, 16)
	enough := make(chan struct{})
	s := w.start(t, Config{Loop: Forever, Progress: func(p Progress) {
		if p.Loop == 50 {
			close(enough)
		}
	}})
	<-enough
	if err := s.Close(); err != nil || s.Stats().Loops < 50 {
		t.Errorf("error %v, stats %+v", err, s.Stats())
	}
}

func TestForeverOfNothingEnds(t *testing.T) {
	w := open(t, frames(t, 0, 1)).look(t, 16)
	s := w.start(t, Config{Loop: Forever})
	<-s.Done()
	if err := s.Err(); err != nil || s.Stats() != (Stats{Loops: 1}) {
		t.Errorf("error %v, stats %+v", err, s.Stats())
	}
}

func TestForeverOfAFileThatIsEmptiedEnds(t *testing.T) {
	w := open(t, frames(t, 10, 1))
	empty, err := os.ReadFile(frames(t, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.file.path, empty, 0o600); err != nil {
		t.Fatal(err)
	}
	s := w.start(t, Config{Loop: Forever})
	<-s.Done()
	if err := s.Err(); err != nil || s.Stats() != (Stats{Loops: 1}) {
		t.Errorf("error %v, stats %+v", err, s.Stats())
	}
}

func TestProgressGoesToTheEnd(t *testing.T) {
	path := convert(t, "gzip", "-c", frames(t, 50000, 1))
	w := open(t, path).look(t, 16)
	var all []Progress
	s := w.start(t, Config{Loop: 2, Progress: func(p Progress) { all = append(all, p) }})
	<-s.Done()
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	last := all[len(all)-1]
	if want := (Progress{stat.Size(), stat.Size(), 100000, 1}); last != want {
		t.Errorf("the last is %+v, want %+v", last, want)
	}
	for i, p := range all {
		if i > 0 && (p.Packets < all[i-1].Packets || p.Loop < all[i-1].Loop) || p.Offset > p.Size {
			t.Errorf("%+v after %+v", p, all[max(i-1, 0)])
		}
	}
}

func TestDamageEndsTheSourceWithAnError(t *testing.T) {
	whole, err := os.ReadFile(testdata + "micro.pcap")
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.pcap")
	for name, c := range map[string]struct {
		file    []byte
		packets int
		want    string
		is      error
	}{
		"cut in a packet": {whole[:len(whole)-1], 4, "after 4 whole packets, at byte 370: it ends within a packet", capfile.ErrTruncated},
		"corrupt":         {append(append([]byte(nil), whole[:100]...), []byte(strings.Repeat("\xff", 100))...), 1, "after 1 whole packets, at byte 100: packet of 4294967295 bytes: want at most", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(broken, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			w := open(t, broken).look(t, 16)
			s := w.start(t, Config{Loop: Forever})
			<-s.Done()
			for _, err := range []error{w.file.Info().Damage, s.Err(), s.Close()} {
				if err == nil || !strings.HasPrefix(err.Error(), "file "+broken+": "+c.want) || c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("error %v, want %q in it", err, c.want)
				}
			}
			if got := len(w.read()); got != c.packets || w.file.Info().Packets != int64(c.packets) {
				t.Errorf("%d packets, info %+v, want %d", got, w.file.Info(), c.packets)
			}
		})
	}
}

func TestFileThatChangesBetweenOpenAndEnd(t *testing.T) {
	path := frames(t, 10, 1)
	w := open(t, path)
	other, err := os.ReadFile(testdata + "raw.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, other, 0o600); err != nil {
		t.Fatal(err)
	}
	s := w.start(t, Config{})
	if <-s.Done(); !errors.Is(s.Err(), errChanged) {
		t.Errorf("error %v", s.Err())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s = w.start(t, Config{})
	if <-s.Done(); !errors.Is(s.Err(), os.ErrNotExist) || !strings.Contains(s.Err().Error(), path) {
		t.Errorf("error %v", s.Err())
	}
}

func TestFilesThatCannotBeReplayed(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("hello, world"), 0o600); err != nil {
		t.Fatal(err)
	}
	truncated := filepath.Join(dir, "truncated.pcap")
	if err := os.WriteFile(truncated, []byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "nowhere"): "no such file",
		dir:                           "it is a directory: want a capture file",
		os.DevNull:                    "not a regular file (D",
		text:                          "neither pcap nor pcapng: begins with bytes 68 65 6c 6c",
		truncated:                     "file header: it ends within a packet or a header",
		write(t, func(*capfile.Writer) error { return nil }): "it tells of no interface",
		write(t, func(w *capfile.Writer) error { return w.WritePacket(0, 1, 4, []byte("abcd"), 0) }, capfile.Interface{Name: "usbmon1", LinkType: 220}): `interface "usbmon1" has packets of link type USB (220), which no network device of Linux has: want one of 0, 1, 2, 4,`,
		write(t, func(*capfile.Writer) error { return nil }, capfile.Interface{LinkType: 148}, capfile.Interface{LinkType: 999}):                        "link type unknown (148), which no",
	} {
		f, err := Open(t.Context(), path)
		if err == nil || !strings.HasPrefix(err.Error(), "file "+path+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, error %v, want %q in it", f, err, want)
		}
	}
}

// An interface whose packets no device can show loses only its own, with a word.
func TestInterfaceOfAnUnknownLinkTypeIsLeftOut(t *testing.T) {
	data := frame(1, 60)
	path := write(t, func(w *capfile.Writer) error {
		return errors.Join(w.WritePacket(0, 1e9, 60, data, 0), w.WritePacket(1, 2e9, 60, data, 0), w.WritePacket(0, 3e9, 60, data, 0))
	}, eth0, capfile.Interface{Name: "usbmon1", LinkType: 220}, capfile.Interface{Name: "quiet", LinkType: 148})
	w := open(t, path).look(t, 16)
	<-w.start(t, Config{}).Done()
	if got := w.read(); len(got) != 2 || got[1].time != 3e9 {
		t.Errorf("packets %+v, want the first and the third", got)
	}
	left := w.file.Info().LeftOut
	if len(left) != 1 || !strings.HasPrefix(left[0].Error(), `interface "usbmon1" has packets of link type USB (220), which no network device of Linux has: want one of 0, 1, `) ||
		!strings.HasSuffix(left[0].Error(), ": its 1 packets are left out") {
		t.Errorf("left out: %v", left)
	}
}

// A cooked packet's header is what readers get in their sockaddr_ll.
func TestCookedPacketsKeepWhatTheirHeaderSays(t *testing.T) {
	ip := []byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	cooked := append([]byte{0x08, 0, 0, 0, 0, 0, 0, 77, 0x03, 0x04, 4, 8, 1, 2, 3, 4, 5, 6, 7, 8}, ip...)
	path := write(t, func(w *capfile.Writer) error {
		return errors.Join(w.WritePacket(0, 1e9, len(cooked)+5, cooked, 0), w.WritePacket(0, 2e9, 19, cooked[:19], 0), w.WritePacket(0, 3e9, 1000, cooked[:19], 0))
	}, capfile.Interface{Name: "any", LinkType: capfile.LinkLinuxSLL2})
	w := open(t, path).look(t, 16)
	<-w.start(t, Config{}).Done()
	f, ok := w.reader.Next()
	if !ok {
		t.Fatal("no packet")
	}
	want := tpacket.SockaddrLL{Family: tpacket.AFPacket, Protocol: tpacket.Htons(0x0800), Ifindex: 77, Hatype: 772,
		Pkttype: tpacket.PacketOutgoing, Halen: 8, Addr: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}
	if f.From != want || string(f.Data) != string(ip) || f.Len != len(ip)+5 {
		t.Errorf("%d of %d bytes from %+v, want %d from %+v", len(f.Data), f.Len, f.From, len(ip), want)
	}
	if n := w.devices[0].Malformed(); n != 2 {
		t.Errorf("%d malformed, want the two with a header that is cut off", n)
	}
}

func TestConfigsThatCannotBe(t *testing.T) {
	w := open(t, testdata+"two.pcapng")
	tun, err := w.ns.AddDevice(rxring.DeviceConfig{Name: "tun9", Type: rxring.RawIP})
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct {
		devices []*rxring.Device
		cfg     Config
	}{
		"speed -1: want a multiple": {w.devices, Config{Speed: -1}},
		"speed NaN":                 {w.devices, Config{Speed: math.NaN()}},
		"speed +Inf":                {w.devices, Config{Speed: math.Inf(1)}},
		"loop -2 times: want 1 or more, or -1 for ever":     {w.devices, Config{Loop: -2}},
		"begin after -1s, with 0 readers: want no negative": {w.devices, Config{After: -time.Second}},
		"begin after 0s, with -1 readers: want no negative": {w.devices, Config{Readers: -1}},
		"1 devices: want 2": {w.devices[:1], Config{}},
		"device 1 is nil":   {[]*rxring.Device{w.devices[0], nil}, Config{}},
		"device tun9 has hardware type 65534: want 1, that of the pa": {[]*rxring.Device{w.devices[0], tun}, Config{}},
	} {
		_, err := w.file.Start(c.devices, c.cfg)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "two.pcapng") {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

func TestErrBeforeTheEndIsNil(t *testing.T) {
	s := open(t, frames(t, 10, 1)).start(t, Config{Wait: true})
	if err := s.Err(); err != nil {
		t.Error(err)
	}
}

func BenchmarkReplay(b *testing.B) {
	const packets = 10000
	for name, watched := range map[string]bool{"unseen": false, "ring": true} {
		b.Run(name, func(b *testing.B) {
			w := open(b, frames(b, packets, 1))
			if watched {
				w.look(b, 64)
			}
			b.ReportAllocs()
			for b.Loop() {
				s, err := w.file.Start(w.devices, Config{})
				if err != nil {
					b.Fatal(err)
				}
				<-s.Done()
				if watched {
					w.read()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/packets, "ns/packet")
		})
	}
}

// A file that is inflated for ever is not read for ever.
func TestAFileThatDecompressesToTooMuch(t *testing.T) {
	defer func(n int64) { minBound = n }(minBound)
	minBound = 1 << 20
	plain := frames(t, 1, 1)
	text, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	// Blocks of a kind that does not matter.
	text = append(text, bytes.Repeat([]byte{0xad, 0x0b, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0}, 1<<18)...)
	if err := os.WriteFile(plain, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), plain); err != nil {
		t.Errorf("not compressed: %v", err)
	}
	path := convert(t, "gzip", "-c", plain)
	if _, err := Open(t.Context(), path); !errors.Is(err, capfile.ErrTooLong) || !strings.HasPrefix(err.Error(), "file "+path+": ") ||
		!strings.Contains(err.Error(), "it decompresses to more than 1MiB: decompress it first") {
		t.Errorf("compressed: %v", err)
	}
	minBound = 1 // so that 100 times its size is the bound, whatever that is
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path); !errors.Is(err, capfile.ErrTooLong) ||
		!strings.Contains(err.Error(), fmt.Sprintf("it decompresses to more than %d bytes: ", 100*stat.Size())) {
		t.Errorf("compressed to less than a hundredth: %v", err)
	}
	minBound = 8 << 20
	if _, err := Open(t.Context(), path); err != nil {
		t.Errorf("compressed, with a higher bound: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, plain); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}
