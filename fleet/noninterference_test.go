package fleet_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/capfile"
)

// TestNoninterference: readers of a class learn nothing of the packets and bytes that its grant
// hides. Two worlds differ only in these. A client makes the same requests in both, with filters
// that test hidden bytes; all packets, counts and answers must be equal.
func TestNoninterference(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	t.Parallel()
	for _, class := range []string{"limited", "headers"} {
		t.Run(class, func(t *testing.T) {
			const seed = 1
			one, other := observe(t, class, seed, 0), observe(t, class, seed, 1)
			if len(one) != len(other) {
				t.Fatalf("%d observations in one world, %d in the other", len(one), len(other))
			}
			for i := range one {
				if one[i] != other[i] {
					t.Fatalf("a reader sees what is hidden from it, in step %d:\n%s\nand in another world:\n%s", i, one[i], other[i])
				}
			}
		})
	}
}

// TestNoninterferenceLooks shows that TestNoninterference can fail: without the grant, the worlds
// differ in packets, in counts and in devices.
func TestNoninterferenceLooks(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	t.Parallel()
	one, other := observe(t, fleet.DefaultClass, 1, 0), observe(t, fleet.DefaultClass, 1, 1)
	differ := 0
	for i := range min(len(one), len(other)) {
		if one[i] != other[i] {
			differ++
		}
	}
	if differ < len(one)/2 {
		t.Errorf("the worlds differ in %d of %d steps", differ, len(one))
	}
}

// Bytes of each packet that the classes may see: some of them or, of class headers, as many as the
// packet's own bytes say, as a filter does that ends after a packet's headers (snaplen = "headers" in
// a file of rxring ship).
const (
	visible = 20
	longer  = 30
)

// headers accepts packets of at most n bytes, up to where they say that their headers end.
func headers(n uint32) []cbpf.Instruction {
	return []cbpf.Instruction{
		{Op: 0x80}, {Op: 0x25, K: n, Jt: 4}, // longer ones: none
		{Op: 0x30, K: 14}, {Op: 0x25, K: 128, Jf: 1}, {Op: 0x06, K: longer}, {Op: 0x06, K: visible},
		{Op: 0x06},
	}
}

// visibleOf returns how many bytes of a packet the class may see.
func visibleOf(class string, b []byte) int {
	if class == "headers" && b[14] > 128 {
		return longer
	}
	return visible
}

// observedFilters are sessions' filters, on what the class may see, and on what it may not.
var observedFilters = [][][]cbpf.Instruction{
	nil,
	{onByte(17)}, // visible
	{onByte(50)}, // hidden
	{onByte(25)}, // hidden in some packets
	{{{Op: 0xb1, K: 50}, {Op: 0x87}, {Op: 0x04, K: 1}, {Op: 0x16}}},              // computes from a hidden byte
	{{{Op: 0x80}, {Op: 0x25, K: 500, Jf: 1}, {Op: 0x06, K: 0xffff}, {Op: 0x06}}}, // hidden packets
	{onByte(50), onByte(17), onByte(25)},                                         // several
}

// onByte accepts packets whose byte n is at most 128.
func onByte(n uint32) []cbpf.Instruction {
	return []cbpf.Instruction{{Op: 0x30, K: n}, {Op: 0x25, K: 128, Jf: 1}, {Op: 0x06}, {Op: 0x06, K: 0xffff}}
}

// observe returns what a client of a class receives in a world, 0 or 1: a line for each step.
func observe(t *testing.T, class string, seed uint64, world int) (lines []string) {
	rnd := rand.New(rand.NewPCG(seed, 0))                  // the same in both worlds
	hidden := rand.New(rand.NewPCG(seed, uint64(world+1))) // not so
	h := startHub(t, "127.0.0.1:0")
	far := newDevice(t, eth0)
	secret, err := far.Namespace().AddDevice(rxring.DeviceConfig{Name: fmt.Sprint("secret", world)})
	if err != nil {
		t.Fatal(err)
	}
	ship(t, dial(t, h.URL()), far, fleet.ShipConfig{Host: "h", Buffer: 1 << 20, Lease: time.Minute, Classes: []fleet.Class{
		{},
		{Name: "limited", Grant: rxring.Grant{Filter: short(500), Snaplen: visible, Devices: func(d *rxring.Device) bool { return d == far }}},
		{Name: "headers", Grant: rxring.Grant{Filter: headers(500), Devices: func(d *rxring.Device) bool { return d == far }}},
	}})
	c := newClient(t, h.URL(), class)
	lines = append(lines, string(c.ask(map[string]any{"op": "list"})))
	for step := range 6 * len(observedFilters) {
		session := c.open(observedFilters[step%len(observedFilters)], rnd.IntN(100))
		for range 20 {
			switch rnd.IntN(3) {
			case 0:
				b := frame(rnd.IntN(400))
				rand.NewChaCha8([32]byte{byte(rnd.IntN(256))}).Read(b[14:longer])
				for i := visibleOf(class, b); i < len(b); i++ {
					b[i] = byte(hidden.Uint32())
				}
				far.Deliver(&rxring.Packet{Data: b, Timestamp: 1e18})
			case 1:
				for range hidden.IntN(5) {
					far.Deliver(&rxring.Packet{Data: frame(600 + hidden.IntN(300)), Timestamp: 1e18})
				}
			case 2:
				for range hidden.IntN(5) {
					secret.Deliver(&rxring.Packet{Data: frame(1), Timestamp: 1e18})
				}
			}
		}
		lines = append(lines, c.end(session))
	}
	for _, device := range []string{"secret0", "secret1", "none"} {
		if class != fleet.DefaultClass {
			text := string(c.ask(map[string]any{"op": "open", "device": device, "reader": "r"}))
			lines = append(lines, text[len(device):])
		}
	}
	return lines
}

// client makes requests by hand.
type client struct {
	t       *testing.T
	nc      *nats.Conn
	class   string
	batches *nats.Subscription
}

func newClient(t *testing.T, url, class string) *client {
	c := &client{t: t, nc: dial(t, url), class: class}
	var err error
	if c.batches, err = c.nc.SubscribeSync("rxring.v1.*.*.*.s." + class + ".*"); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) ask(q map[string]any) []byte {
	c.t.Helper()
	text, err := json.Marshal(q)
	if err != nil {
		c.t.Fatal(err)
	}
	m, err := c.nc.Request("rxring.v1.default.h.ctl."+c.class, text, time.Minute)
	if err != nil {
		c.t.Fatal(err)
	}
	return m.Data
}

// rows returns filters as a request has them.
func rows(filters [][]cbpf.Instruction) (programs [][][4]uint32) {
	for _, f := range filters {
		var rows [][4]uint32
		for _, in := range f {
			rows = append(rows, [4]uint32{uint32(in.Op), uint32(in.Jt), uint32(in.Jf), in.K})
		}
		programs = append(programs, rows)
	}
	return programs
}

func (c *client) open(filters [][]cbpf.Instruction, snaplen int) (session string) {
	c.t.Helper()
	what := map[string]any{"snaplen": snaplen, "promiscuous": true, "compress": "none", "programs": rows(filters)}
	var a struct {
		Session string
		Error   any
	}
	text := c.ask(map[string]any{"op": "open", "device": "eth0", "reader": "r", "what": what})
	if err := json.Unmarshal(text, &a); err != nil || a.Session == "" {
		c.t.Fatalf("%s, %v", text, err)
	}
	return a.Session
}

// end returns all packets of a session and its counts, and closes it.
func (c *client) end(session string) string {
	c.t.Helper()
	var seen bytes.Buffer
	keep := []byte(`{"op":"keep","reader":"r","session":"` + session + `"}`)
	begin := int(time.Now().UnixNano()) // batches that were sent before do not have all packets in their counts
	for ; ; time.Sleep(time.Millisecond) {
		c.nc.Publish("rxring.v1.default.h.ctl."+c.class, keep)
		m, err := c.batches.NextMsg(time.Minute)
		if err != nil {
			c.t.Fatal(err)
		}
		if m.Header.Get("Rxring-Session") != session {
			continue
		}
		read := c.packets(&seen, m.Data) + number(c.t, m, "Rxring-Packets-Before")
		if offered := number(c.t, m, "Rxring-Offered"); read == offered && number(c.t, m, "Rxring-Sent") >= begin {
			fmt.Fprintf(&seen, "offered %d, cut %s, lost %s", offered, m.Header.Get("Rxring-Cut"), m.Header.Get("Rxring-Lost"))
			break
		}
	}
	c.ask(map[string]any{"op": "close", "reader": "r", "session": session})
	return seen.String()
}

func number(t *testing.T, m *nats.Msg, header string) int {
	n, err := strconv.Atoi(m.Header.Get(header))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// packets writes a section's packets, and returns how many there are.
func (c *client) packets(into *bytes.Buffer, section []byte) (n int) {
	c.t.Helper()
	if len(section) == 0 {
		return 0
	}
	r, err := capfile.NewReader(bytes.NewReader(section))
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Close()
	for {
		p, err := r.Next()
		if err != nil {
			return n
		}
		n++
		fmt.Fprintf(into, "%d %d % x\n", p.Timestamp, p.Len, p.Data)
	}
}

// A reader of a class gets no hidden byte by naming a session of another class.
func TestSessionsOfOtherClasses(t *testing.T) {
	h := startHub(t, "127.0.0.1:0")
	far := newDevice(t, eth0)
	ship(t, dial(t, h.URL()), far, fleet.ShipConfig{Host: "h", Lease: time.Minute, Classes: []fleet.Class{
		{}, {Name: "limited", Grant: rxring.Grant{Snaplen: visible}},
	}})
	all, limited := newClient(t, h.URL(), fleet.DefaultClass), newClient(t, h.URL(), "limited")
	session := all.open(nil, 0)
	for _, op := range []string{"keep", "close"} {
		text := limited.ask(map[string]any{"op": op, "reader": "r", "session": session})
		if !slices.Contains([]string{`{}`, `{"error":{"code":"session","text":"session \"` + session + `\" has no such reader: want open"}}`}, string(text)) {
			t.Errorf("%s: %s", op, text)
		}
	}
	limited.ask(map[string]any{"op": "open", "reader": "r", "device": "eth0", "session": session, "what": map[string]any{"promiscuous": true, "compress": "none"}})
	send(far, 100, 200)
	if got := all.end(session); bytes.Count([]byte(got), []byte("\n")) != 100 {
		t.Errorf("the other class's session was changed or ended:\n%.200s", got)
	}
}
