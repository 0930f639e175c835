package file

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/delivery"
	"github.com/rxring/rxring/tpacket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testdata is what tcpdump, dumpcap, tshark and text2pcap wrote.
const testdata = "capfile/testdata/"

// packet is what a reader saw, or should see.
type packet struct {
	device string
	time   int64
	kind   tpacket.PacketType
	len    int // that it had
	data   string
}

// inFile lists what a file holds, for devices with the interfaces' names; packets
// are not of this host's address.
func inFile(t *testing.T, path string) []packet {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := capfile.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []packet
	for {
		p, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		kind := tpacket.PacketOtherHost
		if p.Direction == capfile.Outbound {
			kind = tpacket.PacketOutgoing
		}
		all = append(all, packet{r.Interfaces()[p.Interface].Name, p.Timestamp, kind, p.Len, string(p.Data)})
	}
}

// write makes a pcapng file of interfaces and what fill writes.
func write(t testing.TB, fill func(w *capfile.Writer) error, ins ...capfile.Interface) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.pcapng")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w, err := capfile.NewWriter(file, capfile.Section{})
	for _, in := range ins {
		_, err2 := w.AddInterface(in)
		err = errors.Join(err, err2)
	}
	if err := errors.Join(err, fill(w), w.Flush()); err != nil {
		t.Fatal(err)
	}
	return path
}

var eth0 = capfile.Interface{Name: "eth0", LinkType: capfile.LinkEthernet}

// frame n is a frame of a local experimental protocol, unlike all others.
func frame(n, length int) []byte {
	b := bytes.Repeat([]byte{byte(n), byte(n >> 8), byte(n >> 16)}, length/3+1)[:length]
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
	return b
}

// frames writes n frames of eth0, every nanoseconds, the first at 1 s.
func frames(t testing.TB, n int, every int64) string {
	return write(t, func(w *capfile.Writer) error {
		var err error
		for i := range n {
			err = errors.Join(err, w.WritePacket(0, 1e9+int64(i)*every, 60, frame(i, 60), 0))
		}
		return err
	}, eth0)
}

// world is a namespace with a file's devices and a socket that sees all of them.
type world struct {
	file    *File
	devices []*rxring.Device
	ns      *rxring.Namespace
	socket  *rxring.Socket
	reader  *ring.Reader
}

// open does not look yet.
func open(t testing.TB, path string) *world {
	t.Helper()
	f, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{file: f, ns: rxring.NewNamespace(rxring.NamespaceConfig{})}
	for _, c := range f.Devices("file") {
		d, err := w.ns.AddDevice(c)
		if err != nil {
			t.Fatal(err)
		}
		w.devices = append(w.devices, d)
	}
	return w
}

// look opens the socket, with a ring of slots.
func (w *world) look(t testing.TB, slots uint32) *world {
	t.Helper()
	socket, err := w.ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	const slot = 1 << 11
	if err := errors.Join(
		socket.SetVersion(tpacket.V2),
		socket.SetRxRing(tpacket.Req{BlockSize: 2 * slot, BlockNr: slots / 2, FrameSize: slot, FrameNr: slots}),
	); err != nil {
		t.Fatal(err)
	}
	w.socket = socket
	if w.reader, err = socket.NewReader(); err != nil {
		t.Fatal(err)
	}
	return w
}

// start replays; the test waits for the end.
func (w *world) start(t testing.TB, cfg Config) *Source {
	t.Helper()
	s, err := w.file.Start(w.devices, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// read lists what is in the ring.
func (w *world) read() (ps []packet) {
	for {
		f, ok := w.reader.Next()
		if !ok {
			return ps
		}
		d, _ := w.ns.DeviceByIndex(int(f.From.Ifindex))
		ps = append(ps, packet{d.Name(), f.UnixNano(), f.From.Pkttype, f.Len, string(f.Data)})
		f.Release()
	}
}

func same(t *testing.T, got, want []packet) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("packet %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

// convert makes a file by a program, whose argument OUT it is; without one, of what
// the program prints.
func convert(t *testing.T, program string, args ...string) string {
	t.Helper()
	need.Program(t, program)
	out, printed := filepath.Join(t.TempDir(), "converted"), true
	for i, a := range args {
		if a == "OUT" {
			args[i], printed = out, false
		}
	}
	var stderr bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, stderr.Bytes())
	}
	if printed {
		if err := os.WriteFile(out, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestReaderSeesThePacketsOfTheFile(t *testing.T) {
	for name, c := range map[string]struct {
		path   func(t *testing.T) string
		device string // of a file that has none
	}{
		"pcapng of dumpcap, two interfaces": {func(*testing.T) string { return testdata + "two.pcapng" }, ""},
		"pcapng of tshark":                  {func(*testing.T) string { return testdata + "tshark.pcapng" }, ""},
		"pcap of tcpdump":                   {func(*testing.T) string { return testdata + "micro.pcap" }, "file0"},
		"nanoseconds of tcpdump":            {func(*testing.T) string { return testdata + "nano.pcap" }, "file0"},
		"gzip":                              {func(t *testing.T) string { return convert(t, "gzip", "-c", testdata+"two.pcapng") }, ""},
		"zstd":                              {func(t *testing.T) string { return convert(t, "zstd", "-c", testdata+"two.pcapng") }, ""},
		"pcapng of editcap":                 {func(t *testing.T) string { return convert(t, "editcap", "-F", "pcapng", testdata+"nano.pcap", "OUT") }, "file0"},
		"pcapng of mergecap": {func(t *testing.T) string {
			return convert(t, "mergecap", "-F", "pcapng", "-w", "OUT", testdata+"two.pcapng", testdata+"tshark.pcapng")
		}, "merged"},
	} {
		t.Run(name, func(t *testing.T) {
			path := c.path(t)
			want := inFile(t, path)
			w := open(t, path).look(t, 64)
			switch c.device {
			case "":
			case "merged": // two of the three interfaces are named vb
				for i := range want {
					want[i].device = ""
				}
			default:
				for i := range want {
					want[i].device = c.device
				}
			}
			s := w.start(t, Config{Speed: FullSpeed})
			<-s.Done()
			got := w.read()
			if c.device == "merged" {
				if len(w.devices) != 3 {
					t.Errorf("%d devices", len(w.devices))
				}
				for i := range got {
					got[i].device = ""
				}
			}
			same(t, got, want)
			bytes := 0
			for _, p := range want {
				bytes += len(p.data)
			}
			if stats := (Stats{Packets: uint64(len(want)), Bytes: uint64(bytes), Loops: 1}); s.Stats() != stats || s.Err() != nil {
				t.Errorf("stats %+v, error %v; want %+v", s.Stats(), s.Err(), stats)
			}
			info := w.file.Info()
			if info.Packets != int64(len(want)) || info.Bytes != int64(bytes) || info.Damage != nil || info.Cut != 0 || info.Duration() < 150e6 {
				t.Errorf("info %+v", info)
			}
		})
	}
}

// A file goes through a program of the system and comes back: what tcpdump makes of
// the packets that it reads is what is replayed.
func TestTcpdumpsCopyOfAFileIsReplayedAlike(t *testing.T) {
	const packets = 2000
	path := write(t, func(w *capfile.Writer) error {
		var err error
		for i := range packets {
			err = errors.Join(err, w.WritePacket(0, 1e18+int64(i)*1001, 60+i%1400, frame(i, 60+i%1400), 0))
		}
		return err
	}, eth0)
	copied := convert(t, "tcpdump", "--time-stamp-precision=nano", "-r", path, "-w", "OUT")
	w := open(t, copied).look(t, 2*packets)
	<-w.start(t, Config{}).Done()
	want := inFile(t, path)
	for i := range want {
		want[i].device = "file0"
	}
	same(t, w.read(), want)
}

func TestOutboundPacketsAreOutgoing(t *testing.T) {
	path := write(t, func(w *capfile.Writer) error {
		var err error
		for i := range 9 {
			err = errors.Join(err, w.WritePacket(0, int64(i+1), 60, frame(i, 60), capfile.Direction(i%3)))
		}
		return err
	}, eth0)
	w := open(t, path).look(t, 16)
	<-w.start(t, Config{}).Done()
	got := w.read()
	same(t, got, inFile(t, path))
	if got[2].kind != tpacket.PacketOutgoing || got[1].kind != tpacket.PacketOtherHost {
		t.Errorf("packet types %v and %v", got[1].kind, got[2].kind)
	}
}

func TestCommentsAreKept(t *testing.T) {
	comments := []string{"peer Alice", "", "verdict: drop"}
	path := write(t, func(w *capfile.Writer) error {
		var err error
		for i, c := range comments {
			err = errors.Join(err, w.WriteCommented(0, int64(i+1), 60, frame(i, 60), capfile.Inbound, c))
		}
		return err
	}, eth0)
	w := open(t, path).look(t, 16)
	if err := w.socket.Setsockopt(tpacket.SolPacket, tpacket.OptComments, binary.NativeEndian.AppendUint32(nil, 1)); err != nil {
		t.Fatal(err)
	}
	<-w.start(t, Config{}).Done()
	for i, want := range comments {
		f, ok := w.reader.Next()
		if !ok || f.Comment() != want {
			t.Errorf("packet %d: %v, comment %q, want %q", i, ok, f.Comment(), want)
		}
	}
}

func TestRawIPGetsARawIPDevice(t *testing.T) {
	for _, link := range []capfile.LinkType{capfile.LinkRaw, capfile.LinkRawBSD, capfile.LinkRawOpenBSD, capfile.LinkIPv4, capfile.LinkIPv6} {
		ip := make([]byte, 40)
		ip[0] = 0x45
		if link == capfile.LinkIPv6 {
			ip[0] = 0x60
		}
		path := write(t, func(w *capfile.Writer) error { return w.WritePacket(0, 5, len(ip), ip, 0) }, capfile.Interface{Name: "tun0", LinkType: link})
		w := open(t, path).look(t, 16)
		<-w.start(t, Config{}).Done()
		if got := w.read(); len(got) != 1 || got[0].data != string(ip) || w.devices[0].Type() != rxring.RawIP || w.devices[0].Malformed() != 0 {
			t.Errorf("%v: packets %+v, device type %d, %d malformed", link, got, w.devices[0].Type(), w.devices[0].Malformed())
		}
	}
}

func TestCutPacketsKeepTheirLengthAndAreCounted(t *testing.T) {
	path := testdata + "cut.pcap"
	w := open(t, path).look(t, 16)
	s := w.start(t, Config{})
	<-s.Done()
	got := w.read()
	want := inFile(t, path)
	for i := range want {
		want[i].device = got[i].device
	}
	same(t, got, want)
	if len(got) != 5 || len(got[0].data) != 40 || got[0].len <= 40 || s.Stats().Cut != 5 || w.file.Info().Cut != 5 {
		t.Errorf("%d packets, stats %+v, info %+v", len(got), s.Stats(), w.file.Info())
	}
}

func TestLongPacketsAreWholeAndInOrder(t *testing.T) {
	lengths := []int{60, delivery.BatchBytes + 1, 100, 65549, 60, 200000, 60000, 60000, 60}
	path := write(t, func(w *capfile.Writer) error {
		var err error
		for i, n := range lengths {
			err = errors.Join(err, w.WritePacket(0, int64(i+1), n, frame(i, n), 0))
		}
		return err
	}, eth0)
	w := open(t, path)
	if mtu, longest := w.devices[0].MTU(), w.devices[0].MaxLen(); mtu != 65535 || longest != 200000-14 {
		t.Errorf("MTU %d, longest packet %d", mtu, longest)
	}
	socket, err := w.ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	const slot = 1 << 18
	if err := errors.Join(socket.SetVersion(tpacket.V2), socket.SetRxRing(tpacket.Req{BlockSize: slot, BlockNr: 16, FrameSize: slot, FrameNr: 16})); err != nil {
		t.Fatal(err)
	}
	if w.reader, err = socket.NewReader(); err != nil {
		t.Fatal(err)
	}
	<-w.start(t, Config{}).Done()
	same(t, w.read(), inFile(t, path))
}

func TestStatsCountPacketsWithoutSockets(t *testing.T) {
	w := open(t, frames(t, 100, 1))
	s := w.start(t, Config{})
	<-s.Done()
	if got, want := s.Stats(), (Stats{Packets: 100, Bytes: 6000, Unseen: 100, Loops: 1}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

func TestDevicesOfInterfaces(t *testing.T) {
	of := func(name string) capfile.Interface {
		return capfile.Interface{Name: name, LinkType: capfile.LinkEthernet}
	}
	path := write(t, func(w *capfile.Writer) error {
		long := append(frame(0, 12), 0x81, 0, 0, 5, 0x88, 0xb5)
		return errors.Join(
			w.WritePacket(0, 1, 9018, long, 0), // a tag is no part of the MTU
			w.WritePacket(2, 1, 1600, frame(0, 14), 0))
	},
		of("eth0"), of(""), of("eth0"), of("a name with spaces"), of("file0"), of("any"), of("0123456789abcdef"),
		of("up\x1b[A"), of(".."), of("a/b"), of("a:b"), capfile.Interface{Name: "usbmon0", LinkType: 220}, of("lo"))
	f, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, d := range f.Devices("file") {
		got += fmt.Sprintf("%s %d ", d.Name, d.MTU)
	}
	if want := "eth0 9000 file1 1500 file2 1586 file3 1500 file0 1500 file4 1500 file5 1500 file6 1500 file7 1500 file8 1500 file9 1500 lo 1500 "; got != want {
		t.Errorf("devices\n%s, want\n%s", got, want)
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	var devices []*rxring.Device
	for _, c := range f.Devices("file") {
		d, err := ns.AddDevice(c)
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, d)
	}
	s, err := f.Start(devices, Config{})
	if err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if err := s.Close(); err != nil || s.Stats().Packets != 2 {
		t.Errorf("error %v, stats %+v", err, s.Stats())
	}
}
