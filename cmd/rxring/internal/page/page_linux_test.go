package page_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cmd/rxring/internal/line/linetest"
	"github.com/rxring/rxring/cmd/rxring/internal/page"
	"github.com/rxring/rxring/cmd/rxring/internal/pcapfilter"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/capfile"
)

// udp returns a packet to a port.
func udp(t *testing.T, port int, payload string) []byte {
	return linetest.Frame(t, linetest.Ether(layers.EthernetTypeIPv4), linetest.IP4(layers.IPProtocolUDP),
		&layers.UDP{SrcPort: 7, DstPort: layers.UDPPort(port)}, gopacket.Payload(payload))
}

// deliver delivers packets of the second 1.
func deliver(d *rxring.Device, packets ...[]byte) {
	for i, data := range packets {
		d.Deliver(&rxring.Packet{Data: slices.Clone(data), Timestamp: 1e9 + int64(i)*1000})
	}
}

// detail is the answer for a packet that was opened.
type detail struct {
	Length, Captured int
	Layers           []struct {
		Name          string
		Start, Length int
		Fields        []struct{ Name, Value string }
	}
	Bytes string
}

func (s *scene) detail(table string, number uint64) (d detail) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.get(fmt.Sprintf("/packets/%s/%d", table, number))), &d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

func needLibpcap(t *testing.T) {
	t.Helper()
	if _, err := pcapfilter.Compile("ip", 1, 0); err != nil {
		need.Skip(t, need.Programs, "%v", err)
	}
}

func TestTable(t *testing.T) {
	need.Time(t, "it watches for a second")
	needLibpcap(t)
	s := newScene(t, attach.Grant{})
	e := s.stream("/packets/events?device=wg0&filter=udp+dst+port+53")
	var devices []string
	e.await("devices", &devices)
	if !slices.Contains(devices, "wg0") || !slices.Contains(devices, "secret0") {
		t.Errorf("devices %v", devices)
	}
	var id string
	e.await("table", &id)
	payload := "<script>alert(1)</script>"
	deliver(s.device("wg0"), udp(t, 53, payload), udp(t, 54, "no"), udp(t, 53, "second"))
	rows := e.rows(2)
	if want := (row{N: 0, L: 67, From: "192.0.2.1.7", To: "192.0.2.2.53", Protocol: "UDP", Info: "length 33"}); len(rows) != 2 || rows[0] != want {
		t.Errorf("%+v, want %+v", rows, want)
	}
	d := s.detail(id, 0)
	names := ""
	for _, l := range d.Layers {
		names += fmt.Sprintf("%s %d+%d ", l.Name, l.Start, l.Length)
	}
	if d.Length != 67 || d.Captured != 67 || !strings.Contains(d.Bytes, hex.EncodeToString([]byte(payload))) || !strings.HasPrefix(names, "Ethernet 0+14 IPv4 14+20 UDP 34+8 ") {
		t.Errorf("%+v, layers %s", d, names)
	}

	pause := func(on string) int {
		resp, err := s.client.Post(s.base+"/packets/"+id+"/pause?on="+on, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := pause("true"); got != http.StatusNoContent {
		t.Error(got)
	}
	if got := pause("maybe"); got != http.StatusBadRequest {
		t.Error(got)
	}
	deliver(s.device("wg0"), udp(t, 53, "unseen"))
	var c struct{ Received, Shown, Paused, Skipped, Dropped uint64 }
	for c.Paused == 0 {
		e.await("counts", &c)
	}
	if c.Received != 3 || c.Shown != 2 || c.Paused != 1 || c.Skipped+c.Dropped != 0 {
		t.Errorf("%+v", c)
	}
	pause("false")
	deliver(s.device("wg0"), udp(t, 53, "again"))
	if rows := e.rows(1); rows[0].N != 2 {
		t.Errorf("%+v", rows)
	}
	s.ns.RemoveDevice(s.device("wg0"))
	var why struct{ Text string }
	e.await("refused", &why)
	if !strings.Contains(why.Text, "The device is down") {
		t.Error(why)
	}
}

// What is wrong with a request is said beside the field.
func TestWrongFields(t *testing.T) {
	needLibpcap(t)
	s := newScene(t, attach.Grant{})
	for query, want := range map[string]struct{ Field, Text string }{
		"device=wg0&filter=tcp+prot+80": {"filter", `filter "tcp prot 80": can't parse filter expression: syntax error`},
		"device=wg1":                    {"device", `device "wg1": want `},
		"":                              {"device", "choose a device"},
		"device=wg0&filter=" + strings.Repeat("x", 4097): {"filter", "a filter of 4097 bytes: want at most 4096"},
	} {
		var got struct{ Field, Text string }
		s.stream("/packets/events?"+query).await("refused", &got)
		if got.Field != want.Field || !strings.HasPrefix(got.Text, want.Text) {
			t.Errorf("%.40s: %+v, want %+v", query, got, want)
		}
	}
	for query, want := range map[string]string{
		"device=wg0":                                "want packets (1 to 1000000), seconds (1 to 3600), or both",
		"device=wg0&packets=0":                      `packets "0": want 1 to 1000000`,
		"device=wg0&seconds=3601":                   `seconds "3601": want 1 to 3600`,
		"device=wg1&packets=1":                      `device "wg1": want `,
		"device=wg0&packets=1&filter=tcp+and+and+x": "syntax error",
	} {
		resp, err := s.client.Get(s.base + "/take?" + query)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s, %s; want %s", query, resp.Status, body, want)
		}
	}
}

// More pages than are allowed are refused, and closed ones make room.
func TestPagesAreLimited(t *testing.T) {
	s := newScene(t, attach.Grant{})
	var first *stream
	for i := range 16 {
		e := s.stream("/overview/events")
		var history []any
		e.await("history", &history)
		if i == 0 {
			first = e
		}
	}
	var why struct{ Text string }
	s.stream("/packets/events?device=wg0").await("refused", &why)
	if !strings.HasPrefix(why.Text, "As many pages are open as are allowed (16)") {
		t.Error(why)
	}
	first.close()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		e := s.stream("/overview/events")
		name, _, _ := e.next()
		e.close()
		if name == "history" {
			return
		}
		if time.Now().After(end) {
			t.Fatal("no room after a page was closed")
		}
	}
}

// The page detaches when no browser shows it: it costs nothing then.
func TestNothingRunsWithoutPages(t *testing.T) {
	s := newScene(t, attach.Grant{AllStatus: true})
	e := s.stream("/packets/events?device=wg0")
	var id string
	e.await("table", &id)
	if n := len(s.attach.Status().Sockets); n != 1 {
		t.Errorf("%d sockets", n)
	}
	e.close()
	for end := time.Now().Add(20 * time.Second); s.device("wg0").HasListeners(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a socket is left")
		}
	}
}

func TestOverview(t *testing.T) {
	need.Time(t, "it watches for a second")
	s := newScene(t, attach.Grant{AllStatus: true})
	c, err := attach.Dial(t.Context(), s.attach.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h, err := capture.OpenAttached(c, "wg0", capture.Config{Immediate: true, Buffer: 64 << 10, Snaplen: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	e := s.stream("/overview/events")
	for st := (capture.Stats{}); st.Drops == 0; st, _ = h.Stats() { // until the ring is full
		deliver(s.device("wg0"), slices.Repeat([][]byte{udp(t, 53, "x")}, 1000)...)
	}
	s.device("wg0").Lost(3)
	var snap struct {
		Devices []struct{ Name, Type string }
		Sockets []struct {
			Key, Device string
			Page        bool
			Ring        struct{ States string }
			Losses      []struct {
				Reason, Advice string
				Packets        uint64
			}
		}
		Sample struct {
			T       float64
			Sockets map[string]struct{ Captured float64 }
		}
	}
	for range 5 {
		e.await("snapshot", &snap)
		if len(snap.Sockets) == 1 && len(snap.Sockets[0].Losses) == 2 {
			break
		}
	}
	if len(snap.Sockets) != 1 || len(snap.Sockets[0].Losses) != 2 {
		t.Fatalf("%+v", snap)
	}
	r := snap.Sockets[0]
	if r.Device != "wg0" || r.Losses[0].Reason != "ring_full" || !strings.Contains(r.Losses[0].Advice, "tcpdump -B") ||
		r.Losses[1].Reason != "before_device" || r.Losses[1].Packets != 3 || !strings.Contains(r.Losses[1].Advice, "buffer=") || !strings.Contains(r.Ring.States, "R") {
		t.Errorf("%+v", r)
	}
}

func TestTake(t *testing.T) {
	need.Time(t, "it captures for a second")
	needLibpcap(t)
	s := newScene(t, attach.Grant{})
	go func() {
		for !s.device("wg0").HasListeners() {
			time.Sleep(time.Millisecond)
		}
		for i := range 20 {
			deliver(s.device("wg0"), udp(t, 53, fmt.Sprint("p", i)), udp(t, 54, "no"))
		}
	}()
	resp, err := s.client.Get(s.base + "/take?device=wg0&packets=7&filter=port+53")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if name := resp.Header.Get("Content-Disposition"); !strings.HasPrefix(name, `attachment; filename="wg0-2`) || !strings.HasSuffix(name, `.pcapng"`) {
		t.Error(name)
	}
	packets := readAll(t, resp.Body)
	if len(packets) != 7 || !bytes.Contains(packets[6].Data, []byte("p6")) {
		t.Errorf("%d packets", len(packets))
	}
	if got := readAll(t, strings.NewReader(s.get("/take?device=wg0&seconds=1"))); len(got) != 0 {
		t.Errorf("%d packets in a silent second", len(got))
	}
}

func readAll(t *testing.T, r io.Reader) (all []capfile.Packet) {
	t.Helper()
	f, err := capfile.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := f.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Data = bytes.Clone(p.Data)
		all = append(all, p)
	}
}

// The page shows the commands for its own socket.
func TestCommands(t *testing.T) {
	s := newScene(t, attach.Grant{})
	var c page.Commands
	if err := json.Unmarshal([]byte(s.get("/commands")), &c); err != nil {
		t.Fatal(err)
	}
	if want := s.commands; c != want {
		t.Errorf("%+v: want %+v", c, want)
	}
}

// TestSize limits what a browser loads: all pages together have less than 150,000 bytes, uncompressed.
func TestSize(t *testing.T) {
	sum := int64(0)
	for _, pattern := range []string{"static/*", "documents/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Size()
		}
	}
	if t.Logf("%d bytes", sum); sum >= 150_000 {
		t.Errorf("%d bytes: want less than 150000", sum)
	}
}

// Every packet of a burst is shown or counted.
func TestWhatATableDoesNotShowIsCounted(t *testing.T) {
	s := newScene(t, attach.Grant{})
	e := s.stream("/packets/events?device=wg0")
	var id string
	e.await("table", &id)
	const sent = 60_000
	deliver(s.device("wg0"), slices.Repeat([][]byte{udp(t, 53, "x")}, sent)...)
	var c struct{ Received, Shown, Paused, Skipped, Dropped, Lost uint64 }
	for c.Received+c.Dropped < sent {
		e.await("counts", &c)
	}
	if c.Received+c.Dropped != sent || c.Shown+c.Skipped != c.Received || c.Skipped+c.Dropped == 0 || c.Paused+c.Lost != 0 {
		t.Errorf("%+v of %d packets", c, sent)
	}
}

// A table that the page's budget has no memory for is refused, and says what to do.
func TestMemoryOfPagesIsLimited(t *testing.T) {
	s := newScene(t, attach.Grant{})
	if err := s.taken.Replace(s.budget, attach.DefaultMaxMemory-20<<20); err != nil {
		t.Fatal(err)
	}
	defer s.taken.Release()
	var id string
	s.stream("/packets/events?device=wg0").await("table", &id)
	var why struct{ Text string }
	s.stream("/packets/events?device=wg0").await("refused", &why)
	if !strings.HasPrefix(why.Text, "memory for the packets of a table: 16777216 bytes: ") || !strings.HasSuffix(why.Text, "close another page, or raise max_memory in the rule of the page") {
		t.Error(why)
	}
}

// A loopback device that was added, as rxring serve --from iface:lo does, can be chosen.
func TestDevicesHaveTheLoopbackDevice(t *testing.T) {
	s := newScene(t, attach.Grant{})
	if _, err := s.ns.AddDevice(rxring.DeviceConfig{Name: "lo", Type: rxring.Loopback}); err != nil {
		t.Fatal(err)
	}
	var names []string
	s.stream("/packets/events?device=lo").await("devices", &names)
	if !slices.Contains(names, "lo") {
		t.Error(names)
	}
}
