package dump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/capfile"
)

// TestEveryPacketUpToTheEnd ends captures when packets are still in the ring.
func TestEveryPacketUpToTheEnd(t *testing.T) {
	for _, attached := range []bool{false, true} {
		for _, immediate := range []bool{false, true} {
			t.Run(fmt.Sprintf("attached=%v,immediate=%v", attached, immediate), func(t *testing.T) {
				s, _ := start(t, Config{File: "x", Capture: capture.Config{Immediate: immediate}}, attached)
				const n = 200
				for i := range n {
					s.deliver(numbered(t, i), time.Unix(1700000000, int64(i)))
				}
				s.end()
				r, err := s.wait()
				if err != nil || r != (Result{Began: true, Captured: n, Files: 1}) {
					t.Fatalf("%+v, %v", r, err)
				}
				f := s.read("x")
				if len(f.packets) != n || f.received != n || f.missed != 0 {
					t.Fatalf("%d packets, %d received, %d dropped", len(f.packets), f.received, f.missed)
				}
				for i, p := range f.packets {
					if string(p.Data) != string(numbered(t, i)) || p.Timestamp != 1700000000_000000000+int64(i) || p.Direction != capfile.Outbound {
						t.Fatalf("packet %d: %+v", i, p)
					}
				}
			})
		}
	}
}

// What the source says of a packet is in the file, for other programs, too. A pcap file has no
// place for it.
func TestComments(t *testing.T) {
	t.Parallel()
	need.Time(t, "it runs tshark")
	for _, attached := range []bool{false, true} {
		for _, name := range []string{"x.pcapng", "x.pcap"} {
			t.Run(fmt.Sprintf("attached=%v,%s", attached, name), func(t *testing.T) {
				t.Parallel()
				s, _ := start(t, Config{File: name, Capture: capture.Config{Comments: true}}, attached)
				for i := range 3 {
					p := rxring.Packet{Data: numbered(t, i)}
					if i != 1 {
						p.Comment = fmt.Sprintf("peer %d: accepted", i)
					}
					s.dev.Deliver(&p)
				}
				s.end()
				if r, err := s.wait(); err != nil || r.Captured != 3 {
					t.Fatalf("%+v, %v", r, err)
				}
				want := []string{"peer 0: accepted", "", "peer 2: accepted"}
				if name == "x.pcap" {
					want = []string{"", "", ""}
				}
				var got []string
				for _, p := range s.packets(name) {
					got = append(got, p.Comment)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s, attached %v: %q, want %q", name, attached, got, want)
				}
				need.Program(t, "tshark")
				out, err := exec.Command("tshark", "-r", filepath.Join(s.dir, name), "-T", "fields", "-e", "frame.comment").Output()
				if err != nil || string(out) != strings.Join(want, "\n")+"\n" {
					t.Errorf("%s: tshark reads %q, %v; want %q", name, out, err, want)
				}
			})
		}
	}
}

func TestCountAndSnaplen(t *testing.T) {
	s, _ := start(t, Config{File: "x", Count: 3, Capture: capture.Config{Snaplen: 20, Immediate: true}}, false)
	for i := range 5 {
		s.deliver(numbered(t, i), time.Now())
	}
	r, err := s.wait()
	if err != nil || r.Captured != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	for i, p := range s.read("x").packets {
		if want := numbered(t, i); string(p.Data) != string(want[:20]) || p.Len != len(want) {
			t.Errorf("%d of %d bytes", len(p.Data), p.Len)
		}
	}
}

func TestEndsAfterSomeTime(t *testing.T) {
	s, _ := start(t, Config{For: 50 * time.Millisecond}, false)
	s.deliver(numbered(t, 1), time.Now())
	s.deliver(numbered(t, 2), time.Now().Add(time.Hour)) // of another clock
	r, err := s.wait()
	if err != nil || r.Captured != 2 || r.Files != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	text, err := os.ReadFile(s.out.Name())
	if err != nil || strings.Count(string(text), "\n") != 2 || !strings.Contains(string(text), " Out IP 192.0.2.1.1 > 192.0.2.2.9: UDP, 60 bytes\n") {
		t.Errorf("%q, %v", text, err)
	}
}

// TestTextComesWhenNothingElseDoes reads lines while the capture goes on.
func TestTextComesWhenNothingElseDoes(t *testing.T) {
	s, _ := start(t, Config{}, true)
	for i := range 3 {
		s.deliver(numbered(t, i), time.Now())
		for {
			text, err := os.ReadFile(s.out.Name())
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(text), "\n") == i+1 {
				break
			}
			if t.Context().Err() != nil {
				t.Fatal("no line")
			}
			time.Sleep(time.Millisecond)
		}
	}
	s.end()
	s.wait()
}

func TestDropsAreInTheFile(t *testing.T) {
	need.Time(t, "it waits for losses")
	for _, attached := range []bool{false, true} {
		s, _ := open(t, Config{Capture: capture.Config{Buffer: 1}}, attached)
		// The ring is full before anybody reads.
		s.in.Start = func() (<-chan struct{}, error) {
			for i := range 1000 {
				s.deliver(append(numbered(t, i), make([]byte, 1400)...), time.Now())
			}
			return nil, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/5, cancel)
		r, err := Run(ctx, s.in, Config{File: filepath.Join(s.dir, "x"), Quiet: true}, s.out, os.Stderr)
		s.in.Close()
		if err != nil || r.Dropped == 0 || r.Captured+r.Dropped != 1000 {
			t.Fatalf("%+v, %v", r, err)
		}
		if f := s.read("x"); len(f.packets) != int(r.Captured) || f.received != 1000 || f.missed != r.Dropped {
			t.Errorf("%d packets, %d received, %d dropped; %+v", len(f.packets), f.received, f.missed, r)
		}
		if attached {
			if out, err := exec.Command("tshark", "-r", filepath.Join(s.dir, "x"), "-X", "read_format:MIME Files Format", "-V").Output(); err != nil {
				t.Logf("SKIPPED: tshark: %v", err)
			} else if want := fmt.Sprintf("Number of Dropped Packets: %d\n", r.Dropped); !strings.Contains(string(out), want) {
				t.Errorf("tshark does not show %q", want)
			}
		}
	}
}

// TestTagsAreSeen captures what a kernel keeps beside frames, with expressions whose
// answer hangs on it, and wants what tcpdump finds in the file of everything.
func TestTagsAreSeen(t *testing.T) {
	need.Time(t, "it runs tcpdump")
	need.Program(t, "tcpdump")
	udp := func(port layers.UDPPort) gopacket.SerializableLayer { return &layers.UDP{SrcPort: 7, DstPort: port} }
	var frames [][]byte
	for _, id := range []uint16{0, 5, 6} {
		for _, port := range []layers.UDPPort{53, 80} {
			all := []gopacket.SerializableLayer{ether(0x0800), ip4(layers.IPProtocolUDP), udp(port)}
			if id != 0 {
				all = []gopacket.SerializableLayer{ether(0x8100), vlan(id, 0x0800), ip4(layers.IPProtocolUDP), udp(port)}
			}
			frames = append(frames, frame(t, all...))
			if id != 0 {
				frames = append(frames, frame(t, append([]gopacket.SerializableLayer{ether(0x88a8), vlan(9, 0x8100)}, all[1:]...)...))
			}
		}
	}
	session := func(expr string, attached bool) string {
		s, _ := start(t, Config{File: "x", Expression: expr}, attached)
		for i, f := range frames {
			s.dev.Deliver(&rxring.Packet{Data: f, Timestamp: 1700000000_000000000 + int64(i)})
		}
		s.end()
		if _, err := s.wait(); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(s.dir, "x")
	}
	list := func(path string, expr ...string) string {
		out, err := exec.Command("tcpdump", append([]string{"-xx", "-e", "-n", "-tt", "-r", path}, expr...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	everything := session("", false)
	if n := strings.Count(list(everything), "IPv4 (0x0800)"); n < len(frames) {
		t.Fatalf("%d of %d", n, len(frames))
	}
	for _, expr := range []string{"vlan", "vlan 5", "not vlan", "vlan 5 and udp port 53", "vlan 9 and vlan 6", "udp port 80 or (vlan 5 and port 80)", "vlan and vlan and dst port 53"} {
		want := list(everything, expr)
		for _, attached := range []bool{false, true} {
			if got := list(session(expr, attached)); got != want || want == "" {
				t.Errorf("%s: captured\n%swant\n%s", expr, got, want)
			}
		}
	}
}

func TestServerEnds(t *testing.T) {
	s, server := start(t, Config{File: "x", Capture: capture.Config{Immediate: true}}, true)
	s.deliver(numbered(t, 1), time.Now())
	for {
		if st := server.Status(); len(st.Sockets) == 1 && st.Sockets[0].Ring != nil && !strings.Contains(st.Sockets[0].Ring.States, "R") {
			break // it has been read
		}
		time.Sleep(time.Millisecond)
	}
	server.Close()
	r, err := s.wait()
	if err == nil || !strings.Contains(err.Error(), "sock") || r.Captured != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if f := s.read("x"); len(f.packets) != 1 {
		t.Errorf("%d packets", len(f.packets))
	}
}

func TestDeviceGoesAway(t *testing.T) {
	need.Time(t, "it captures for a second")
	s, _ := start(t, Config{File: "x"}, true)
	s.deliver(numbered(t, 1), time.Now())
	if err := s.dev.Namespace().RemoveDevice(s.dev); err != nil {
		t.Fatal(err)
	}
	r, err := s.wait()
	if !errors.Is(err, syscall.ENETDOWN) || r.Captured != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// A device that goes down ends no capture, as long as it is there.
func TestDeviceGoesDownAndUp(t *testing.T) {
	for _, attached := range []bool{false, true} {
		s, _ := start(t, Config{File: "x", Capture: capture.Config{Immediate: true}}, attached)
		for i := range 3 {
			s.deliver(numbered(t, i), time.Now())
			s.dev.SetUp(false)
			s.deliver(numbered(t, 9), time.Now()) // nobody gets it
			s.dev.SetUp(true)
		}
		s.end()
		r, err := s.wait()
		if err != nil || r.Captured != 3 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
}

func TestWhereNothingCanBeWritten(t *testing.T) {
	s, _ := start(t, Config{File: "/dev/full", Capture: capture.Config{Immediate: true}}, false)
	s.deliver(numbered(t, 1), time.Now())
	if _, err := s.wait(); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "/dev/full") {
		t.Errorf("a full disk: %v", err)
	}
	for file, want := range map[string]string{"/no/such/directory/x": "/no/such/directory/x", "/": "is a directory"} {
		s, _ := open(t, Config{}, true)
		_, err := Run(t.Context(), s.in, Config{File: file}, s.out, os.Stderr)
		s.in.Close()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestExpressionThatCannotBe(t *testing.T) {
	s, _ := open(t, Config{}, false)
	defer s.in.Close()
	_, err := Run(t.Context(), s.in, Config{Expression: "tcp prot 80"}, s.out, os.Stderr)
	if bad := new(UsageError); !errors.As(err, &bad) && !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "tcp prot 80") {
		t.Error(err)
	}
	if text, _ := os.ReadFile(s.out.Name()); len(text) > 0 {
		t.Errorf("%q", text)
	}
}

func TestNoSuchDevice(t *testing.T) {
	s, _ := open(t, Config{}, true)
	defer s.in.Close()
	if _, err := OpenAttached(t.Context(), filepath.Join(s.dir, "sock"), []string{"net9"}, capture.Config{}); !errors.Is(err, syscall.ENODEV) || !strings.Contains(err.Error(), "there is net0") {
		t.Error(err)
	}
	if _, err := OpenAttached(t.Context(), filepath.Join(s.dir, "none"), nil, capture.Config{}); !errors.Is(err, syscall.ENOENT) {
		t.Error(err)
	}
}

func TestCapturingAPacketAllocatesNothing(t *testing.T) {
	const n = 2000
	for _, attached := range []bool{false, true} {
		for _, file := range []string{"x", ""} {
			c := capture.Config{Immediate: true, Snaplen: 128, Buffer: 4 << 20}
			s, _ := open(t, Config{Capture: c}, attached)
			d := &dumper{Config: Config{File: file, Capture: c, Expression: "vlan or udp"}, in: s.in}
			if d.File != "" {
				d.File = filepath.Join(s.dir, d.File)
			}
			if err := d.begin(t.Context(), s.out); err != nil {
				need.Skip(t, need.Programs, "%v", err)
			}
			data, at := append(numbered(t, 1), make([]byte, 1000)...), time.Now()
			for range n + 1 {
				s.deliver(data, at)
			}
			got := testing.AllocsPerRun(1, func() {
				if err := d.receive(t.Context(), n/2); err != nil {
					t.Fatal(err)
				}
			})
			if got > 20 { // and none a packet
				t.Errorf("attached %v, file %q: %v allocations for %d packets", attached, file, got, n/2)
			}
			if err := errors.Join(d.out.close(capture.Stats{}), s.in.Close()); err != nil {
				t.Error(err)
			}
		}
	}
}

func BenchmarkTake(b *testing.B) {
	for _, file := range []string{"/dev/null", ""} {
		b.Run(fmt.Sprintf("file=%q", file), func(b *testing.B) {
			c := capture.Config{Immediate: true, Snaplen: 1514, Buffer: 16 << 20}
			dev, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "net0"})
			if err != nil {
				b.Fatal(err)
			}
			in, err := OpenDevices(dev.Namespace(), nil, c)
			if err != nil {
				b.Fatal(err)
			}
			defer in.Close()
			null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer null.Close()
			d := &dumper{Config: Config{File: file, Capture: c}, in: in}
			if err := d.begin(b.Context(), null); err != nil {
				b.Fatal(err)
			}
			defer d.out.close(capture.Stats{})
			const batch = 1000
			p := rxring.Packet{Data: append(numbered(b, 1), make([]byte, 1400)...), Timestamp: 1700000000_000000000}
			b.ReportAllocs()
			for n := 0; n < b.N; n += batch {
				b.StopTimer()
				for range batch {
					dev.Deliver(&p)
				}
				b.StartTimer()
				if err := d.receive(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
