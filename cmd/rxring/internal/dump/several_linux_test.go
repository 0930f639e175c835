package dump

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/need"
)

// devices are devices of several link types, of which the last is cooked.
var devices = []rxring.DeviceConfig{
	{Name: "net0"}, {Name: "tun0", Type: rxring.RawIP}, {Name: "net1"}, {Name: "ppp0", Type: rxring.PPP},
}

// session is a capture of several devices.
type session struct {
	t       *testing.T
	dir     string
	ns      *rxring.Namespace
	devices []*rxring.Device
}

func newSession(t *testing.T) *session {
	s := &session{t: t, dir: t.TempDir(), ns: rxring.NewNamespace(rxring.NamespaceConfig{})}
	for _, c := range devices {
		s.add(c)
	}
	return s
}

func (s *session) add(c rxring.DeviceConfig) {
	s.t.Helper()
	d, err := s.ns.AddDevice(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.devices = append(s.devices, d)
}

// open opens devices in this process or attached. By default the ring has room for all that capture
// delivers before it is read: where that takes seconds, each 64 ms use a block.
func (s *session) open(names []string, c capture.Config, attached bool) *Input {
	s.t.Helper()
	if c.Buffer == 0 {
		c.Buffer = 64 << 20
	}
	var in *Input
	var err error
	if attached {
		path := filepath.Join(s.dir, "sock")
		server, err2 := attach.Listen(path, attach.Config{Namespace: s.ns})
		if err2 != nil {
			s.t.Fatal(err2)
		}
		s.t.Cleanup(func() { server.Close() })
		in, err = OpenAttached(s.t.Context(), path, names, c)
	} else {
		in, err = OpenDevices(s.ns, names, c)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return in
}

// capture calls deliver once packets are accepted, and returns the file's path.
func (s *session) capture(in *Input, c Config, deliver func()) string {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	in.Start = func() (<-chan struct{}, error) {
		deliver()
		cancel()
		return nil, nil
	}
	c.File, c.Quiet = filepath.Join(s.dir, c.File), true
	_, err := Run(ctx, in, c, os.Stdout, os.Stderr)
	if err2 := in.Close(); err != nil || err2 != nil {
		s.t.Fatal(err, err2)
	}
	return c.File
}

const base = 1700000000_000000000 // the first packet's time

// deliver delivers a UDP packet at base+at to a device.
func (s *session) deliver(d *rxring.Device, port, at int) {
	all := []byte(frame(s.t, ether(0x0800), ip4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 7, DstPort: layers.UDPPort(port)}, payload))
	if d.Type() != rxring.Ethernet {
		all = all[14:]
	}
	p := rxring.Packet{Data: all, Timestamp: base + int64(at)}
	if d.Type() == rxring.PPP {
		p.Link = &rxring.Link{Protocol: 0x0800}
	}
	d.Deliver(&p)
}

// merged are pcapng files, one behind the other in one that tshark reads at once.
type merged struct {
	dir   string
	files []mergedFile
}

type mergedFile struct {
	test    string // that wrote it
	path    string
	packets int
	want    string   // of the devices' packets
	seen    []string // what tshark shows of its packets, a line each
}

func newMerged(t *testing.T) *merged { return &merged{dir: t.TempDir()} }

// add takes the file that a test wrote.
func (m *merged) add(t *testing.T, path string, want map[string]int) {
	t.Helper()
	n := len((&scene{t: t, dir: filepath.Dir(path)}).packets(filepath.Base(path)))
	to := filepath.Join(m.dir, fmt.Sprintf("%d.pcapng", len(m.files)))
	if err := os.Rename(path, to); err != nil {
		t.Fatal(err)
	}
	m.files = append(m.files, mergedFile{test: t.Name(), path: to, packets: n, want: fmt.Sprint(want)})
}

// fields returns the files with what tshark shows of these fields.
func (m *merged) fields(t *testing.T, names ...string) []mergedFile {
	t.Helper()
	need.Program(t, "mergecap")
	need.Program(t, "tshark")
	path := filepath.Join(m.dir, "all.pcapng")
	merge := []string{"-a", "-I", "none", "-F", "pcapng", "-w", path}
	for _, f := range m.files {
		merge = append(merge, f.path)
	}
	if out, err := exec.Command("mergecap", merge...).CombinedOutput(); err != nil {
		t.Fatalf("mergecap: %v: %s", err, out)
	}
	args := []string{"-r", path, "-T", "fields"}
	for _, name := range names {
		args = append(args, "-e", name)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	for i := range m.files {
		f := &m.files[i]
		n := min(f.packets, len(lines))
		f.seen, lines = lines[:n], lines[n:]
	}
	if len(lines) > 0 {
		t.Errorf("tshark shows %d packets more", len(lines))
	}
	return m.files
}

func TestSeveralDevicesInOneFile(t *testing.T) {
	t.Parallel()
	need.Time(t, "it runs tshark")
	all := newMerged(t)
	for _, attached := range []bool{false, true} {
		for _, immediate := range []bool{false, true} {
			for _, names := range [][]string{{"tun0", "net0"}, {"any"}, {"net0", "net1", "net0"}} {
				t.Run(fmt.Sprintf("attached=%v,immediate=%v,%v", attached, immediate, names), func(t *testing.T) {
					s := newSession(t)
					c := capture.Config{Immediate: immediate, Snaplen: 1514}
					in := s.open(names, c, attached)
					const n = 300
					path := s.capture(in, Config{File: "x.pcapng", Capture: c}, func() {
						if names[0] == Any {
							s.add(rxring.DeviceConfig{Name: "late0"}) // also delivers
						}
						for i := range n {
							for at, d := range s.devices {
								s.deliver(d, 1000+i, 10*i+at^1) // pairs are in disorder
							}
						}
					})
					want := make(map[string]int)
					for _, d := range s.devices {
						if names[0] == Any || strings.Contains(strings.Join(names, " "), d.Name()) {
							want[d.Name()] = n
						}
					}
					all.add(t, path, want)
				})
			}
		}
	}
	for _, f := range all.fields(t, "frame.time_epoch", "frame.interface_name", "udp.dstport") {
		got, last := make(map[string]int), ""
		for _, line := range f.seen {
			col := strings.Split(line, "\t")
			if got[col[1]]++; col[0] < last {
				t.Fatalf("%s: time %s after %s", f.test, col[0], last)
			}
			if last = col[0]; col[2] == "" {
				t.Fatalf("%s: %s: not decoded", f.test, line)
			}
		}
		if fmt.Sprint(got) != f.want {
			t.Errorf("%s: %v packets, want %v", f.test, got, f.want)
		}
	}
}

// An expression means the same on each device as on that device alone.
func TestExpressionsOfSeveralDevices(t *testing.T) {
	t.Parallel()
	need.Time(t, "it runs tshark")
	needLibpcap(t)
	all := newMerged(t)
	for _, attached := range []bool{false, true} {
		for _, c := range []struct {
			expr  string
			names []string
			want  string // devices, by name
		}{
			{"udp port 53", []string{"any"}, "late0 net0 net1 ppp0 tun0"},
			{"udp port 53", []string{"net0", "tun0"}, "net0 tun0"},
			{"ether dst " + peer.String() + " and udp port 53", []string{"any"}, "late0 net0 net1"}, // not possible on tun0
			{"port 53 and not vlan", []string{"net0", "net1"}, "net0 net1"},                         // run by dumper
			{"port 53 and len < 1000", []string{"ppp0", "tun0"}, "ppp0 tun0"},
		} {
			t.Run(fmt.Sprintf("attached=%v,%q on %v", attached, c.expr, c.names), func(t *testing.T) {
				s := newSession(t)
				in := s.open(c.names, capture.Config{}, attached)
				path := s.capture(in, Config{File: "x.pcapng", Expression: c.expr}, func() {
					s.add(rxring.DeviceConfig{Name: "late0"})
					for _, d := range s.devices {
						s.deliver(d, 53, 1)
						s.deliver(d, 54, 2)
					}
				})
				want := make(map[string]int)
				for _, name := range strings.Fields(c.want) {
					want[name] = 1
				}
				all.add(t, path, want)
			})
		}
	}
	for _, f := range all.fields(t, "frame.interface_name", "udp.dstport") {
		got := make(map[string]int)
		for _, line := range f.seen {
			col := strings.Fields(line)
			if len(col) != 2 {
				t.Errorf("%s: %q", f.test, line)
				continue
			}
			if got[col[0]]++; col[1] != "53" {
				t.Errorf("%s: port %s", f.test, col[1])
			}
		}
		if fmt.Sprint(got) != f.want {
			t.Errorf("%s: %v, want %v", f.test, got, f.want)
		}
	}
}

func needLibpcap(t *testing.T) {
	t.Helper()
	if _, err := newDevice("net0", 2, 1).compile("udp", 0); err != nil {
		need.Skip(t, need.Programs, "%v", err)
	}
}

// Every format has every packet, says capinfos.
func TestFormats(t *testing.T) {
	need.Time(t, "it writes many files")
	for _, c := range []struct {
		file, kind, names, link string
	}{
		{"x", "Wireshark/... - pcapng", "net0 tun0", "Per packet"},
		{"x.pcapng.gz", "Wireshark/... - pcapng (gzip compressed)", "net0 tun0", "Per packet"},
		{"x.zst", "Wireshark/... - pcapng", "net0 tun0", "Per packet"},
		{"x.pcap", "nanosecond pcap", "net0 net1", "Ethernet"},
		{"x.pcap", "nanosecond pcap", "net0 tun0", "Linux cooked-mode capture v2"},
		{"x.pcap", "nanosecond pcap", "any", "Linux cooked-mode capture v2"},
		{"x.pcap.gz", "nanosecond pcap (gzip compressed)", "tun0", "Raw IP"},
		{"x.pcap.zst", "nanosecond pcap", "any", "Linux cooked-mode capture v2"},
	} {
		s := newSession(t)
		in := s.open(strings.Fields(c.names), capture.Config{}, false)
		const n = 500
		path := s.capture(in, Config{File: c.file}, func() {
			for i := range n {
				for _, d := range s.devices {
					s.deliver(d, 1000+i, i)
				}
			}
		})
		want := n * len(strings.Fields(c.names))
		if c.names == Any {
			want = n * len(devices)
		}
		if got := len((&scene{t: t, dir: s.dir}).packets(c.file)); got != want {
			t.Errorf("%s of %s: %d packets, want %d", c.file, c.names, got, want)
		}
		need.Program(t, "capinfos")
		out, err := exec.Command("capinfos", path).Output()
		if err != nil {
			t.Fatalf("%s: capinfos: %v", c.file, err)
		}
		for _, text := range []string{c.kind, "File encapsulation:  " + c.link, fmt.Sprintf("Number of packets:   %d\n", want), "Strict time order:   True"} {
			if !strings.Contains(string(out), text) {
				t.Errorf("%s of %s: no %q in\n%s", c.file, c.names, text, out)
			}
		}
	}
}

// A program that follows a compressed file sees packets while the capture waits for more.
func TestCompressedFilesAreFlushed(t *testing.T) {
	t.Parallel()
	need.Time(t, "it waits for flushes")
	s, _ := start(t, Config{File: "x.zst", Capture: capture.Config{Immediate: true}}, false)
	for i := range 3 {
		s.deliver(numbered(t, i), time.Now())
		for {
			if got, err := s.tryPackets("x.zst"); len(got) == i+1 {
				break
			} else if t.Context().Err() != nil {
				t.Fatalf("%d packets: %v", len(got), err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	s.end()
	if r, err := s.wait(); err != nil || r.Captured != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestNamesOfSeveralDevices(t *testing.T) {
	s := newSession(t)
	for want, names := range map[string][]string{
		"-i any captures on all devices: want no other -i with it": {"net0", "any"},
		`-i "": want the name of a device, or any for all`:         {"net0", ""},
		"-i net7: there is no such device: did you mean net0":      {"net0", "net7"},
		"-i: 65 devices: want at most 64, or -i any for all":       strings.Fields(many(65)),
	} {
		_, err := OpenDevices(s.ns, names, capture.Config{})
		if bad := new(UsageError); !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func many(n int) (names string) {
	for i := range n {
		names += fmt.Sprintf("d%d ", i)
	}
	return names
}

func TestAllNamedDevicesAreRemoved(t *testing.T) {
	need.Time(t, "it captures for a second")
	s := newSession(t)
	in := s.open([]string{"net0", "net1"}, capture.Config{}, true)
	in.Start = func() (<-chan struct{}, error) {
		s.deliver(s.devices[0], 53, 1)
		for _, i := range []int{0, 2} {
			if err := s.ns.RemoveDevice(s.devices[i]); err != nil {
				t.Error(err)
			}
		}
		return nil, nil
	}
	r, err := Run(t.Context(), in, Config{File: filepath.Join(s.dir, "x"), Quiet: true}, os.Stdout, os.Stderr)
	in.Close()
	if !errors.Is(err, syscall.ENETDOWN) || !strings.Contains(err.Error(), "net0 and net1: all devices were removed") || r.Captured != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Packets are written though no more arrive, and do not keep the ring full meanwhile.
func TestFewPacketsOfSeveralDevices(t *testing.T) {
	need.Time(t, "it captures for a second")
	for _, immediate := range []bool{false, true} {
		s := newSession(t)
		c := capture.Config{Immediate: immediate, Buffer: 1}
		in := s.open([]string{"net0", "net1"}, c, true)
		var wg sync.WaitGroup
		in.Start = func() (<-chan struct{}, error) {
			wg.Go(func() {
				for i := range 40 {
					s.deliver(s.devices[0], 53, i)
					time.Sleep(10 * time.Millisecond)
				}
			})
			return nil, nil
		}
		r, err := Run(t.Context(), in, Config{File: filepath.Join(s.dir, "x"), Quiet: true, Capture: c, Count: 40}, os.Stdout, os.Stderr)
		in.Close()
		wg.Wait()
		if err != nil || r.Captured != 40 || r.Dropped != 0 {
			t.Errorf("immediate %v: %+v, %v", immediate, r, err)
		}
	}
}

// What each interface of a file received is counted; drops of all together are told.
func TestCountsOfSeveralInterfaces(t *testing.T) {
	need.Time(t, "it waits for losses")
	s := newSession(t)
	in := s.open([]string{"net0", "tun0"}, capture.Config{Buffer: 1}, false)
	const n = 30000
	path := s.capture(in, Config{File: "x"}, func() {
		for i := range n {
			s.deliver(s.devices[i%2], 1000, i)
		}
	})
	need.Program(t, "tshark")
	out, err := exec.Command("tshark", "-r", path, "-X", "read_format:MIME Files Format", "-V").Output()
	if err != nil {
		t.Fatal(err)
	}
	stats, _ := in.Handle.Stats()
	if stats.Drops == 0 {
		t.Fatal("none were dropped")
	}
	if want := fmt.Sprintf("  Comment: all 2 interfaces together: %d packets received, %d dropped", n, stats.Drops); strings.Count(string(out), want) != 2 {
		t.Errorf("tshark does not show %q twice", want)
	}
}

func TestOrder(t *testing.T) {
	s := newSession(t)
	c := capture.Config{Immediate: true, Snaplen: 128}
	in := s.open([]string{"net0", "net1"}, c, false)
	defer in.Close()
	if err := in.Handle.SetFilter(nil); err != nil {
		t.Fatal(err)
	}
	const n = 2000
	times := make([]int, n)
	for i := range times {
		times[i] = 100 * i
	}
	for i := 0; i+orderPackets/2 < n; i += orderPackets / 2 { // in disorder, but not by more than waits
		rand.Shuffle(orderPackets/2, func(a, b int) { times[i+a], times[i+b] = times[i+b], times[i+a] })
	}
	for _, at := range times {
		s.deliver(s.devices[0], 53, at)
	}
	o := newOrderer(in.Handle, c)
	o.flush = true
	for i := range n {
		f, err := o.next(t.Context())
		if err != nil || f.UnixNano() != base+int64(100*i) {
			t.Fatalf("packet %d: %v, %v", i, f, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
