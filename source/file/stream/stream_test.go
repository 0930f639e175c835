package stream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/tpacket"
)

func TestMain(m *testing.M) {
	deviceInterval, probeInterval = 10*time.Millisecond, 20*time.Millisecond
	goleak.VerifyTestMain(m)
}

// scene is a server with devices.
type scene struct {
	*Server
	t  *testing.T
	ns *rxring.Namespace
}

// maxMemory is a scene's, in bytes: of seven rings, with the private memory of each.
const maxMemory = 32 << 20

func newScene(t *testing.T, c Config, names ...string) *scene {
	t.Helper()
	return newSceneAt(t, "tcp", c, names...)
}

// newSceneAt is newScene with a listener at a loopback address, or a unix socket.
func newSceneAt(t *testing.T, network string, c Config, names ...string) *scene {
	t.Helper()
	s := &scene{t: t, ns: rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: maxMemory})}
	for _, name := range names {
		s.add(rxring.DeviceConfig{Name: name})
	}
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "socket")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if s.Server, err = Serve(l, s.ns, c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *scene) add(c rxring.DeviceConfig) *rxring.Device {
	s.t.Helper()
	d, err := s.ns.AddDevice(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *scene) device(name string) *rxring.Device {
	d, _ := s.ns.DeviceByName(name)
	return d
}

func (s *scene) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial(s.l.Addr().Network(), s.l.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// client is a reader of a stream.
type client struct {
	*capfile.Reader
	dropped uint64
}

// request connects with a request.
func (s *scene) request(r Request) (*client, error) {
	s.t.Helper()
	in, err := Open(s.dial(), r)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.read(in)
}

func (s *scene) read(in io.Reader) (*client, error) {
	r, err := capfile.NewReader(in)
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(r.Close)
	c := &client{Reader: r}
	r.SetEvents(capfile.Events{Stats: func(_ int, st capfile.Stats) { c.dropped = *st.Dropped }})
	return c, nil
}

// next returns the next packet as "device: length of length: last byte".
func (c *client) next() string {
	p, err := c.Next()
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%s: %d of %d: %d", c.Interfaces()[p.Interface].Name, len(p.Data), p.Len, p.Data[len(p.Data)-1])
	if p.Comment != "" {
		text += ", " + p.Comment
	}
	return text
}

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not happen", what)
		}
	}
}

// frame n is a frame of length bytes whose last byte is n.
func frame(n, length int) *rxring.Packet {
	b := bytes.Repeat([]byte{byte(n)}, length)
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
	return &rxring.Packet{Data: b}
}

// A client without a request, such as Wireshark's TCP@, receives all devices, also those that are
// added later.
func TestWithoutARequestAllDevicesAreSent(t *testing.T) {
	s := newScene(t, Config{}, "eth0", "eth1")
	conn := s.dial()
	conn.(*net.TCPConn).CloseWrite() // as nc does
	c, err := s.read(conn)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "a reader on eth1", s.device("eth1").HasListeners)
	s.device("eth1").Deliver(frame(1, 60))
	if got := c.next(); got != "eth1: 60 of 60: 1" {
		t.Error(got)
	}
	commented := frame(4, 60)
	commented.Comment = "peer Alice"
	s.device("eth1").Deliver(commented)
	if got := c.next(); got != "eth1: 60 of 60: 4, peer Alice" {
		t.Error(got)
	}
	late := s.add(rxring.DeviceConfig{Name: "ppp0", Type: rxring.PPP})
	await(t, "a reader on ppp0", late.HasListeners)
	late.Deliver(&rxring.Packet{Data: frame(2, 60).Data, Link: &rxring.Link{Protocol: tpacket.ETHPIP}})
	if got := c.next(); got != "ppp0: 80 of 80: 2" { // with a header of LINUX_SLL2
		t.Error(got)
	}
	if err := s.ns.RemoveDevice(late); err != nil { // the others stay
		t.Error(err)
	}
	s.device("eth0").Deliver(frame(3, 60))
	if got := c.next(); got != "eth0: 60 of 60: 3" {
		t.Error(got)
	}
	s.Close()
	if got := c.next(); got != "EOF" {
		t.Error(got)
	}
}

// What the source of the namespace reads besides packets precedes the packets that follow it, for
// each client once.
func TestExtrasAreSent(t *testing.T) {
	var extras capfile.Extras
	var source capfile.Events
	extras.Collect(&source, func(err error) { t.Error(err) })
	source.Comment("of the section")
	source.Secrets(capfile.Secrets{Type: 1, Data: []byte("early")})
	s := newScene(t, Config{Extras: []*capfile.Extras{&extras}}, "eth0")
	for range 2 {
		c, err := s.request(Request{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		c.SetEvents(capfile.Events{
			Comment: func(text string) { got = append(got, text) },
			Secrets: func(s capfile.Secrets) { got = append(got, string(s.Data)) },
			Name:    func(n capfile.Name) { got = append(got, n.Names...) },
		})
		await(t, "a reader", s.device("eth0").HasListeners)
		source.Name(capfile.Name{Addr: netip.MustParseAddr("192.0.2.1"), Names: []string{"late"}})
		s.device("eth0").Deliver(frame(1, 60))
		if text := c.next(); text != "eth0: 60 of 60: 1" || !slices.Equal(got, []string{"of the section", "early", "late"}) {
			t.Errorf("%s, after %q", text, got)
		}
	}
}

// A device that is removed while a client begins to receive it does not end the client's stream.
func TestADeviceThatIsRemovedMeanwhile(t *testing.T) {
	s := newScene(t, Config{Devices: func(d *rxring.Device) bool {
		if d.Name() == "gone0" {
			d.Namespace().RemoveDevice(d)
		}
		return true
	}}, "eth0", "gone0")
	c, err := s.request(Request{})
	if err != nil {
		t.Fatal(err)
	}
	s.add(rxring.DeviceConfig{Name: "gone0"})
	late := s.add(rxring.DeviceConfig{Name: "eth1"})
	await(t, "a reader on eth1", late.HasListeners)
	late.Deliver(frame(1, 60))
	if got := c.next(); got != "eth1: 60 of 60: 1" {
		t.Error(got)
	}
}

// The device, the filter and the snapshot length of a request.
func TestRequests(t *testing.T) {
	compile := func(expression string, link capfile.LinkType) ([]cbpf.Instruction, error) {
		if expression != "less 100" || link != capfile.LinkEthernet {
			return nil, errors.New("syntax error")
		}
		return parseProgram("4,128 0 0 0,37 1 0 100,6 0 0 65535,6 0 0 0")
	}
	s := newScene(t, Config{Compile: compile, Devices: func(d *rxring.Device) bool { return d.Name() != "secret" }}, "eth0", "eth1", "secret")
	for _, r := range []Request{{Device: "eth1", SnapLen: 20, Filter: "less 100"}, {Device: "eth1", SnapLen: 20, Program: "4,128 0 0 0,37 1 0 100,6 0 0 65535,6 0 0 0"}} {
		conn := s.dial()
		in, err := Open(conn, r)
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.read(in)
		if err != nil {
			t.Fatal(err)
		}
		await(t, "a reader on eth1", s.device("eth1").HasListeners)
		if s.device("eth0").HasListeners() || s.device("secret").HasListeners() {
			t.Error("reads other devices")
		}
		s.device("eth1").Deliver(frame(1, 200))
		s.device("eth1").Deliver(frame(2, 60))
		if got := c.next(); got != "eth1: 20 of 60: 2" {
			t.Error(got)
		}
		conn.Close()
		await(t, "the end of a client", func() bool {
			s.device("eth1").Deliver(frame(3, 60))
			return s.Clients() == 0
		})
	}
	for text, want := range map[string]string{
		`{"device":"eth9"}`:                      `device "eth9": there is no such device: did you mean eth0? there are eth0 and eth1`,
		`{"device":"secret"}`:                    `device "secret": there is no such device: there are eth0 and eth1`,
		`{"snaplen":-1}`:                         "snaplen -1: want 1 to 262144 bytes, or 0 for whole packets",
		`{"filter":"tcp prt 80"}`:                `filter "tcp prt 80": syntax error`,
		`{"filter":"tcp","program":"1,6 0 0 1"}`: "filter and program exclude each other: want one of them",
		`{"program":"2,6 0 0 1"}`:                `program of 1 instructions that begins with "2": want their number first`,
		`{"program":"1,6 0 x 1"}`:                `program: instruction "6 0 x 1": want four numbers, as tcpdump -ddd prints them`,
		`{"program":"1,0 0 0 1"}`:                "program: ",
		`{"dev":"eth0"}`:                         `request: json: unknown field "dev": want a line such as {"device":"wg0","snaplen":128,"filter":"tcp port 443"}, or nothing`,
		"GET / HTTP/1.1\r":                       "request: invalid character 'G' looking for beginning of value: want a line such as",
	} {
		conn := s.dial()
		fmt.Fprintln(conn, text)
		line, err := bufio.NewReader(conn).ReadString('\n')
		if !strings.HasPrefix(line, ErrorPrefix) || !strings.Contains(line, want) {
			t.Errorf("%s: %q, %v, want %s", text, line, err, want)
		}
	}
	if _, err := s.request(Request{Device: "eth9"}); err == nil || !strings.Contains(err.Error(), `the server refuses: device "eth9": `) {
		t.Error(err)
	}
}

// A client's filter that is long runs in the client's goroutine, and sees whole packets: it
// costs the writers nothing.
func TestWritersRunShortFiltersOnly(t *testing.T) {
	s := newScene(t, Config{}, "eth0")
	for _, tt := range []struct {
		nops     int // before: the byte at offset 30 is 2
		inWriter bool
	}{{0, true}, {92, true}, {93, false}, {4000, false}} {
		program := fmt.Sprint(tt.nops+4) + strings.Repeat(",0 0 0 7", tt.nops) + ",48 0 0 30,21 0 1 2,6 0 0 65535,6 0 0 0"
		conn := s.dial()
		in, err := Open(conn, Request{Device: "eth0", SnapLen: 20, Program: program})
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.read(in)
		if err != nil {
			t.Fatal(err)
		}
		await(t, "a reader", s.device("eth0").HasListeners)
		if programs, all := s.device("eth0").Filters(); all == tt.inWriter || len(programs) == 1 != tt.inWriter {
			t.Errorf("%d instructions: writers run %d filters, all packets wanted %v", tt.nops+4, len(programs), all)
		}
		s.device("eth0").Deliver(frame(1, 60))
		s.device("eth0").Deliver(frame(2, 60))
		if got := c.next(); got != "eth0: 20 of 60: 2" {
			t.Errorf("%d instructions: %s", tt.nops+4, got)
		}
		conn.Close()
		await(t, "the end of a client", func() bool {
			s.device("eth0").Deliver(frame(2, 60))
			return s.Clients() == 0
		})
	}
}

// A client that stops in the middle of its request gets an error, and another one is served meanwhile.
func TestStalledRequest(t *testing.T) {
	s := newScene(t, Config{}, "eth0")
	conn := s.dial()
	conn.Write([]byte(`{"device"`))
	if _, err := s.request(Request{Device: "eth0"}); err != nil {
		t.Error(err)
	}
	line, _ := bufio.NewReader(conn).ReadString('\n')
	if want := ErrorPrefix + "request of 9 bytes without a line end: want a line of JSON within 300ms\n"; line != want {
		t.Errorf("%q, want %q", line, want)
	}
	big := s.dial()
	go big.Write(bytes.Repeat([]byte{'x'}, maxRequest+1))
	line, _ = bufio.NewReader(big).ReadString('\n')
	if !strings.Contains(line, "request of more than 65536 bytes") {
		t.Errorf("%q", line)
	}
}

// A client that does not read loses packets, which are counted in its stream; another one loses
// none, and the server can be closed.
func TestASlowClientLosesItsOwnPacketsOnly(t *testing.T) {
	need.Time(t, "it fills buffers")
	s := newScene(t, Config{}, "eth0")
	slow, err := s.request(Request{})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "a reader", s.device("eth0").HasListeners)
	fast, err := s.request(Request{})
	if err != nil {
		t.Fatal(err)
	}
	eth0 := s.device("eth0")
	await(t, "two readers", func() bool { return len(slices.Collect(eth0.Sockets())) == 2 })
	const batches, size = 16, 1000
	for n := range batches {
		for range size {
			eth0.Deliver(frame(n, 1500))
		}
		for range size {
			if got, want := fast.next(), fmt.Sprintf("eth0: 1500 of 1500: %d", n); got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
	}
	go s.Close()
	if got := fast.next(); got != "EOF" || fast.dropped != 0 {
		t.Errorf("%s, %d dropped", got, fast.dropped)
	}
	packets := uint64(0)
	for {
		if _, err = slow.Next(); err != nil {
			break
		}
		packets++
	}
	if packets == batches*size || err == io.EOF && packets+slow.dropped != batches*size {
		t.Errorf("the slow client has %d packets and %d drops of %d, then %v", packets, slow.dropped, batches*size, err)
	}
}

// A client that stalls is disconnected after a time.
func TestAStalledClientIsDisconnected(t *testing.T) {
	s := newScene(t, Config{Stall: 50 * time.Millisecond}, "eth0")
	if _, err := s.request(Request{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the client", func() bool {
		for range 100 {
			s.device("eth0").Deliver(frame(1, 60000))
		}
		return s.Clients() == 0
	})
}

func TestTooManyClientsAreRefused(t *testing.T) {
	s := newScene(t, Config{MaxClients: 1}, "eth0")
	if _, err := s.request(Request{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.request(Request{}); err == nil || err.Error() != "the server refuses: there are 1 clients already: try again later" {
		t.Error(err)
	}
}

func TestOnlyLocalClientsUnlessPublic(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Serve(l, ns, Config{}); err == nil || !strings.Contains(err.Error(), "want a loopback address or a unix socket, or Public") {
		t.Error(err)
	}
	if _, err := Serve(l, ns, Config{MaxClients: -1, Public: true}); err == nil || !strings.Contains(err.Error(), "want no negative values") {
		t.Error(err)
	}
	s, err := Serve(l, ns, Config{Public: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if runtime.GOOS == "windows" {
		return
	}
	u, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	if s, err = Serve(u, ns, Config{}); err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// Whatever a client sends: its request is one that can be served, or is refused with a word.
func FuzzRequest(f *testing.F) {
	for _, text := range []string{"", "\n", `{"device":"eth0","snaplen":1,"program":"1,6 0 0 1"}` + "\n", `{"filter":"x"}` + "\n", "{"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, b := net.Pipe()
		go func() {
			a.Write(text)
			a.Close()
		}()
		r, err := readRequest(b)
		b.Close()
		if refused := (errRequest{}); err != nil && !errors.As(err, &refused) {
			t.Errorf("%v", err)
		} else if err == nil && (r.SnapLen < 0 || r.SnapLen > maxSnapLen || r.Filter != "" && r.Program != "") {
			t.Errorf("%+v", r)
		}
	})
}
