package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"go.uber.org/goleak"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/internal/dissect"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/ring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is how long to wait for what must happen.
const patient = time.Minute

// lines is a log, a JSON object a line.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// find returns the lines that have all of want: key, value, ...
func (l *lines) find(t *testing.T, want ...any) (found []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.buf.Bytes()) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var got map[string]any
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all := true
		for i := 0; i < len(want); i += 2 {
			all = all && fmt.Sprint(got[want[i].(string)]) == fmt.Sprint(want[i+1])
		}
		if all {
			found = append(found, got)
		}
	}
	return found
}

// daemon is a Run.
type daemonTest struct {
	*testing.T
	dir, path, file string
	log             lines
	hangup          chan os.Signal
	stop            context.CancelFunc
	ended           chan error
}

// begin runs a daemon with the file, whose log is JSON.
func begin(t *testing.T, file string, from ...string) *daemonTest {
	t.Helper()
	dir := t.TempDir()
	d := &daemonTest{
		T: t, dir: dir, path: filepath.Join(dir, "rx.sock"), file: filepath.Join(dir, "rxring.toml"),
		hangup: make(chan os.Signal), ended: make(chan error, 1),
	}
	o := Options{At: d.path, Reload: d.hangup, Log: &d.log, Config: func() (*Config, error) { return Load(d.file, SystemResolver) }}
	for _, text := range from {
		s, err := feed.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		o.From = append(o.From, s)
	}
	d.write(file)
	ctx, stop := context.WithCancel(t.Context())
	d.stop = stop
	go func() { d.ended <- Run(ctx, o) }()
	t.Cleanup(d.end)
	d.logged("msg", "offered")
	return d
}

// write is the file from the next reload on.
func (d *daemonTest) write(file string) {
	d.Helper()
	if err := os.WriteFile(d.file, []byte(file+"\n[log]\nformat = \"json\"\n"), 0o600); err != nil {
		d.Fatal(err)
	}
}

// reload returns when it has been done.
func (d *daemonTest) reload(file string) {
	d.Helper()
	d.write(file)
	ends := func() int {
		return len(d.log.find(d.T, "msg", "reloaded")) + len(d.log.find(d.T, "msg", "not reloaded: the old configuration stays in force"))
	}
	before := ends()
	d.hangup <- syscall.SIGHUP
	for deadline := time.Now().Add(patient); ends() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			d.Fatal("nothing is said of a reload")
		}
	}
}

func (d *daemonTest) end() {
	d.stop()
	if d.ended == nil {
		return
	}
	if err := <-d.ended; err != nil {
		d.Errorf("it ended with %v", err)
	}
	d.ended = nil
	if d.Failed() {
		d.Logf("log:\n%s", d.log.buf.String())
	}
}

// logged waits for a line.
func (d *daemonTest) logged(want ...any) map[string]any {
	d.Helper()
	for deadline := time.Now().Add(patient); ; time.Sleep(5 * time.Millisecond) {
		if found := d.log.find(d.T, want...); len(found) > 0 {
			return found[len(found)-1]
		}
		select {
		case err := <-d.ended:
			d.ended = nil
			d.Fatalf("it ended with %v before it logged %v:\n%s", err, want, d.log.buf.String())
		default:
		}
		if time.Now().After(deadline) {
			d.Fatalf("not logged: %v", want)
		}
	}
}

func (d *daemonTest) dial() *attach.Client {
	d.Helper()
	c, err := attach.Dial(d.Context(), d.path)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { c.Close() })
	return c
}

// watch reads a device.
func (d *daemonTest) watch(c *attach.Client, device string, cfg capture.Config) *capture.Handle {
	d.Helper()
	h, err := capture.OpenAttached(c, device, cfg)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { h.Close() })
	return h
}

// read reads n packets.
func (d *daemonTest) read(h *capture.Handle, n int, each func(*ring.Frame)) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patient)
	defer cancel()
	for p, err := range h.Packets(ctx) {
		if err != nil {
			d.Fatal(err)
		}
		if each != nil {
			each(p)
		}
		if n--; n <= 0 {
			return
		}
	}
}

func names(c *attach.Client) (all []string) {
	for _, dev := range c.Namespace().Devices() {
		all = append(all, dev.Name())
	}
	return all
}

func TestAReaderGoesOnWhileTheFileChanges(t *testing.T) {
	const a, b, e = "[[source]]\nfrom = \"a=streams:1\"\n", "[[source]]\nfrom = \"b=streams:1\"\n", "[[source]]\nfrom = \"e=streams:0\"\n"
	d := begin(t, a+b)
	c := d.dial()
	h := d.watch(c, "a", capture.Config{})
	gone := d.watch(c, "b", capture.Config{})
	d.read(h, 10, nil)
	d.read(gone, 10, nil)

	d.reload(a + e)
	d.logged("msg", "source removed", "devices", "b")
	d.logged("msg", "source started", "devices", "e")
	if n := len(d.log.find(t, "msg", "source started", "devices", "a")); n != 1 {
		t.Errorf("a was started %d times", n)
	}
	d.read(h, 1000, nil)
	defer func() {
		if d.log.find(t, "event", "socket closed", "device", "b") == nil {
			t.Error("nothing says that a socket on b was closed")
		}
	}()
	if err := drainUntilError(t, gone); !errors.Is(err, syscall.ENETDOWN) && !errors.Is(err, syscall.ENODEV) && !errors.Is(err, syscall.ENXIO) {
		t.Errorf("the reader of b: %v", err)
	}
	for deadline := time.Now().Add(patient); !slices.Equal(names(c), []string{"a", "e"}); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("devices %v", names(c))
		}
	}

	// One name goes from a source to another.
	d.reload(a + "[[source]]\nfrom = \"e=streams:1\"\n")
	d.logged("msg", "source started", "devices", "e", "source", "e=streams:1")
	d.read(h, 1000, nil)

	// What is wrong changes nothing.
	for _, tt := range []struct{ file, want string }{
		{a + "[[allow]]\nusers = 3\n", d.file + ":4: users: it is an integer: want users' names or numbers, or [\"*\"] for all"},
		{"at = \"/nowhere\"\n", "nothing to offer: want --from streams:N, iface:NAME, file:PATH, pcap:FIFO, exec:COMMAND or nats://SERVER, or [[source]] in the file of --config"},
		{a + "[[source]]\nfrom = \"iface:no-such-if0\"\n", `source "iface:no-such-if0": iface: interface no-such-if0: ` + suggest.NoInterface("no-such-if0", syscall.ENODEV).Error()},
		{a + "[[source]]\nfrom = \"f=streams\"\n[[source]]\nfrom = \"f=streams:1\"\n", `source "f=streams:1": device name "f": want one that is not taken`},
	} {
		d.reload(tt.file)
		if d.log.find(t, "level", "ERROR", "msg", "not reloaded: the old configuration stays in force", "err", tt.want) == nil {
			t.Errorf("not logged: %s", tt.want)
		}
	}
	if got := names(c); !slices.Equal(got, []string{"a", "e"}) {
		t.Errorf("devices %v", got)
	}
	for _, name := range []string{"a", "e"} {
		if n, m := len(d.log.find(t, "msg", "source started", "devices", name)), len(d.log.find(t, "msg", "source removed", "devices", name)); n != m+1 || name == "a" && n != 1 {
			t.Errorf("%s was started %d times, and removed %d times", name, n, m)
		}
	}
	d.read(h, 1000, nil)

	// The reader is not granted any more.
	d.reload(a + "[[allow]]\nusers = [4242]\n")
	select {
	case <-c.Done():
	case <-time.After(patient):
		t.Error("it is still attached")
	}
	if _, err := attach.Dial(t.Context(), d.path); !errors.Is(err, syscall.EACCES) {
		t.Errorf("it attaches again: %v", err)
	}
	d.logged("msg", "audit", "event", "refused", "uid", os.Geteuid())
	d.reload("[log]\n[log]") // no TOML
	if d.log.find(t, "level", "ERROR", "msg", "not reloaded: the old configuration stays in force") == nil {
		t.Error("a file that is no TOML was read")
	}
	d.end()
	if _, err := os.Lstat(d.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's file: %v", err)
	}
}

// drainUntilError reads what is left.
func drainUntilError(t *testing.T, h *capture.Handle) error {
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	for _, err := range h.Packets(ctx) {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestNewRulesAreForReadersThatAreThere(t *testing.T) {
	const source = "[[source]]\nfrom = \"streams:2\"\n"
	own := strconv.Itoa(os.Geteuid())
	d := begin(t, source+"[[allow]]\nusers = ["+own+"]\nsend = true\n")
	h := d.watch(d.dial(), "net0", capture.Config{Snaplen: 300})
	longest := 0
	measure := func(p *ring.Frame) { longest = max(longest, len(p.Data)) }
	d.read(h, 100, measure)
	if longest != 300 {
		t.Errorf("%d bytes of a packet, want 300", longest)
	}
	d.reload(source + "[[allow]]\nusers = [" + own + "]\nsnaplen = 60\n")
	longest = 0
	// What is in the ring was granted: a ring's worth of packets, and those behind it.
	for last := 300; last > 60; last = longest {
		longest = 0
		d.read(h, 1000, measure)
	}
	d.read(h, 1000, measure)
	if longest != 60 {
		t.Errorf("%d bytes of a packet, want 60", longest)
	}
}

// trace writes a capture of n packets, a millisecond apart.
func trace(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	four, _ := udpPackets(t)
	for i := range n {
		ci := gopacket.CaptureInfo{Timestamp: time.UnixMilli(int64(i)), CaptureLength: len(four.Data), Length: len(four.Data)}
		if err := w.WritePacket(ci, four.Data); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestAFileComesToItsEndAndAgainAfterAReload(t *testing.T) {
	need.Time(t, "it replays files")
	const packets = 100
	file := "[[source]]\nfrom = \"lan=file:" + trace(t, packets) + "\"\n"
	d := begin(t, file)
	for round := 1; round <= 2; round++ {
		h := d.watch(d.dial(), "lan", capture.Config{}) // who attaches now sees what is there now
		n := 0
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		defer cancel()
		var end error
		for _, err := range h.Packets(ctx) {
			if end = err; err != nil {
				break
			}
			n++
		}
		if n != packets || !errors.Is(end, syscall.ENETDOWN) && !errors.Is(end, syscall.ENODEV) && !errors.Is(end, syscall.ENXIO) {
			t.Errorf("round %d: %d packets, and then %v: want %d and that the device is gone", round, n, end, packets)
		}
		h.Close()
		for len(d.log.find(t, "msg", "source ended", "devices", "lan")) < round {
			if ctx.Err() != nil {
				t.Fatal("the source has not ended")
			}
			time.Sleep(5 * time.Millisecond)
		}
		d.reload(file)
	}
	// The daemon ends while a file is read that has not begun, or has not ended.
	d.watch(d.dial(), "lan", capture.Config{})
	d.end()
}

func TestNoPayloadUnderHeaders(t *testing.T) {
	d := begin(t, "[[allow]]\nusers = [\"*\"]\nsnaplen = \"headers\"\n", "streams:3")
	payload := func(p *ring.Frame) (cut, whole int) {
		var f dissect.Flow
		dissect.Walk(&dissect.Packet{Data: p.Data, NetOff: etherLen, Protocol: uint16(p.Data[12])<<8 | uint16(p.Data[13])}, &f)
		switch {
		case p.Data[12] == 8 && p.Data[13] == 6:
			return arpLen + etherLen, 0
		case !f.Whole || f.Transport != protoTCP:
			t.Fatalf("what is this? % x", p.Data)
		}
		end := f.Pos + int(p.Data[f.Pos+12]>>4)*4
		return end, p.Len - end
	}
	c := d.dial()
	h := d.watch(c, "net0", capture.Config{})
	with := 0
	d.read(h, 2000, func(p *ring.Frame) {
		end, rest := payload(p)
		if len(p.Data) != end {
			t.Fatalf("%d bytes of headers, %d shown of %d: % x", end, len(p.Data), p.Len, p.Data)
		}
		if rest > 0 {
			with++
		}
	})
	if with == 0 {
		t.Error("no packet had a payload to be cut off")
	}
	// A filter does not see what it is not shown, either: payload that begins with a
	// certain byte would be let through.
	const (
		loadByte, ret = 0x30, 0x06
		offset        = 14 + 20 + 32
	)
	h2 := d.watch(c, "net0", capture.Config{Filter: []cbpf.Instruction{{Op: loadByte, K: offset}, {Op: ret, K: 100}}})
	d.read(h, 5000, nil)
	if st, err := h2.Stats(); err != nil || st.Packets != 0 {
		t.Errorf("a filter that looks at payload has let through %+v, %v", st, err)
	}
}

var metric = regexp.MustCompile(`(?m)^(rxring_[a-z_]+(?:\{[^}]*\})?) (\S+)$`)

func scrape(t *testing.T, client *http.Client, url string) map[string]float64 {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v: %s", resp.Status, err, body)
	}
	got := make(map[string]float64)
	for _, m := range metric.FindAllStringSubmatch(string(body), -1) {
		if got[m[1]], err = strconv.ParseFloat(m[2], 64); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func TestMetricsCountWhatReadersHad(t *testing.T) {
	dir := t.TempDir()
	sock := filepath.Join(dir, "metrics.sock")
	d := begin(t, "[metrics]\nlisten = \"unix:"+sock+"\"\n", "streams:1", "quiet=streams:0")
	if fi, err := os.Stat(sock); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the metrics' socket: %v, %v", fi, err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", sock)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	const url = "http://rxring/metrics"
	check := func(got map[string]float64, want map[string]float64) {
		t.Helper()
		for name, n := range want {
			if v, ok := got[name]; !ok || v != n {
				t.Errorf("%s is %v (there: %v), want %v", name, v, ok, n)
			}
		}
	}
	got := scrape(t, client, url)
	check(got, map[string]float64{
		"rxring_peers": 0, "rxring_attached_total": 0, "rxring_ring_memory_bytes": 0,
		`rxring_device_up{device="net0",source="streams:1"}`: 1, `rxring_device_up{device="quiet",source="streams:0"}`: 1,
	})

	c := d.dial()
	h := d.watch(c, "net0", capture.Config{})
	d.read(h, 1000, nil)
	const offered, captured = `rxring_offered_packets_total{device="net0"}`, `rxring_captured_packets_total{device="net0"}`
	got = scrape(t, client, url)
	check(got, map[string]float64{"rxring_peers": 1, "rxring_attached_total": 1, `rxring_sockets{device="net0"}`: 1})
	if got[offered] < 1000 || got[captured] < 1000 || got["rxring_ring_memory_bytes"] <= 0 {
		t.Errorf("%v offered, %v captured, %v bytes", got[offered], got[captured], got["rxring_ring_memory_bytes"])
	}
	if got[`rxring_source_total{counter="frames",device="net0"}`] < got[captured] {
		t.Errorf("the source counts %v", got[`rxring_source_total{counter="frames",device="net0"}`])
	}
	before := got

	// Counters do not shrink when a socket closes, and then are exactly its own.
	h.Close()
	line := d.logged("event", "socket closed")
	got = scrape(t, client, url)
	sum := 0.0
	for _, reason := range []string{"ring_full", "slot_owned", "slot_releasing", "no_room"} {
		n := got[`rxring_dropped_packets_total{device="net0",reason="`+reason+`"}`]
		if n != line["dropped_"+reason] {
			t.Errorf("%s: %v, the log says %v", reason, n, line["dropped_"+reason])
		}
		sum += n
	}
	check(got, map[string]float64{
		offered: line["offered"].(float64), captured: line["captured"].(float64), `rxring_sockets{device="net0"}`: 0, "rxring_ring_memory_bytes": 0,
	})
	if got[offered] != got[captured]+sum || got[offered] < before[offered] {
		t.Errorf("%v offered, %v captured, %v dropped; %v offered before", got[offered], got[captured], sum, before[offered])
	}
	h = d.watch(c, "net0", capture.Config{})
	d.read(h, 1000, nil)
	if again := scrape(t, client, url); again[captured] < got[captured]+1000 {
		t.Errorf("%v captured by two sockets, %v by the first", again[captured], got[captured])
	}
	resp, err := client.Get("http://rxring/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("another path: %s", resp.Status)
	}
}

func TestLogNamesReadersAndDevices(t *testing.T) {
	d := begin(t, "", "streams:1")
	c := d.dial()
	d.logged("msg", "audit", "event", "attached", "uid", os.Geteuid(), "pid", os.Getpid())
	h := d.watch(c, "net0", capture.Config{Filter: []cbpf.Instruction{{Op: 0x06, K: 100}}})
	d.read(h, 100, nil)
	line := d.logged("event", "socket opened", "device", "net0")
	if user, _ := line["user"].(string); !strings.HasSuffix(user, fmt.Sprintf("(%d)", os.Geteuid())) {
		t.Errorf("user %q", user)
	}
	if command, _ := line["command"].(string); !strings.Contains(command, filepath.Base(os.Args[0])) || len(command) > maxCommand+3 {
		t.Errorf("command %q", command)
	}
	h.Close()
	line = d.logged("event", "socket closed", "device", "net0", "filter_instructions", 1, "filter", "1,6 0 0 100")
	if n, _ := line["captured"].(float64); n < 100 {
		t.Errorf("captured %v", line["captured"])
	}
	c.Close()
	d.logged("event", "detached")
}

func TestFiltersInTheLogAreBounded(t *testing.T) {
	long := make([]cbpf.Instruction, maxFilter+7)
	if got := oneLine(long); !strings.HasPrefix(got, "256,0 0 0 0,") || !strings.HasSuffix(got, ",0 0 0 0,... 7 more") || strings.Count(got, ",") != maxFilter+1 {
		t.Errorf("%d instructions are %q", len(long), got)
	}
}

func TestRunRefusesToStart(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "taken.sock")
	l, err := net.Listen("unix", taken)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	quiet, err := feed.Parse("streams:0")
	if err != nil {
		t.Fatal(err)
	}
	gone, err := feed.Parse("file:/no/such/trace.pcap")
	if err != nil {
		t.Fatal(err)
	}
	file := func(text string) func() (*Config, error) {
		return func() (*Config, error) { return Parse("f", []byte(text), SystemResolver) }
	}
	for _, tt := range []struct {
		name string
		o    Options
		want string
		ours bool // it is the operator's words that are wrong
	}{
		{"without a source", Options{}, "nothing to offer: want --from", true},
		{"with a wrong file", Options{Config: file("x = 1")}, "f:1: x: unknown key", true},
		{"without the trace", Options{From: []feed.Spec{gone}}, `"file:/no/such/trace.pcap": no such file`, false},
		{"with two of a name", Options{From: []feed.Spec{quiet, quiet}}, `device name "net0": want one that is not taken`, false},
		{"where it must not listen", Options{From: []feed.Spec{quiet}, At: "/proc/rx.sock"}, "/proc/rx.sock", false},
		{"where metrics are taken", Options{From: []feed.Spec{quiet}, Config: file("[metrics]\nlisten = \"unix:" + taken + "\"")}, "another process listens there already", false},
	} {
		if tt.o.At == "" {
			tt.o.At = filepath.Join(t.TempDir(), "rx.sock")
		}
		var log strings.Builder
		tt.o.Log = &log
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		err := Run(ctx, tt.o)
		cancel()
		var wrong ConfigError
		if strings.Contains(log.String(), "source started") {
			t.Errorf("%s: the log says that a source was started:\n%s", tt.name, &log)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.As(err, &wrong) != tt.ours {
			t.Errorf("%s: %T %v", tt.name, err, err)
		}
	}
}
