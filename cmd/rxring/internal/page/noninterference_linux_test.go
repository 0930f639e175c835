package page_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/line/linetest"
	"github.com/rxring/rxring/cmd/rxring/internal/serve"
	"github.com/rxring/rxring/internal/need"
)

// worldStep are the packets that both worlds deliver at a time. A packet is absent where it is nil.
type worldStep struct {
	device string
	in     [2][]byte
}

// drawSteps draws packets that differ between the worlds only in what a headers-only grant of wg0
// without UDP hides: payload, UDP packets, and packets of secret0. shown is how many it shows.
func drawSteps(t *testing.T, rnd *rand.Rand) (steps []worldStep, shown int, secrets []string) {
	secret := func() string {
		text := fmt.Sprintf("SECRET-%016x", rnd.Uint64())
		secrets = append(secrets, text)
		return text
	}
	for range 40 {
		switch rnd.IntN(3) {
		case 0: // a payload of the same length
			p := func(text string) []byte {
				return linetest.Frame(t, linetest.Ether(layers.EthernetTypeIPv4), linetest.IP4(layers.IPProtocolTCP),
					&layers.TCP{SrcPort: 1025, DstPort: 80, Seq: uint32(shown), PSH: true, ACK: true}, gopacket.Payload(text))
			}
			steps = append(steps, worldStep{"wg0", [2][]byte{p(secret()), p(secret())}})
			shown++
		case 1: // a packet that the filter refuses, in one world
			s := worldStep{device: "wg0"}
			s.in[rnd.IntN(2)] = udp(t, rnd.IntN(1<<16), secret())
			steps = append(steps, s)
		case 2: // another number of packets of a hidden device
			s := worldStep{device: "secret0"}
			s.in[rnd.IntN(2)] = udp(t, 80, secret())
			steps = append(steps, s)
		}
	}
	return steps, shown, secrets
}

// headersOnly is what a rule grants with snaplen = "headers", devices = ["wg0"] and filter = "tcp".
func headersOnly(t *testing.T) attach.Grant {
	needLibpcap(t)
	c, err := serve.Parse("rules", []byte("[[source]]\nfrom = \"streams:1\"\n[[allow]]\nusers = [0]\ndevices = [\"wg0\"]\nfilter = \"tcp\"\nsnaplen = \"headers\"\n"), serve.SystemResolver)
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Grant(attach.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// observe returns all that a browser can observe in a world: a line for each thing. raw is all
// that it received.
func observe(t *testing.T, grant attach.Grant, steps []worldStep, shown, world int) (lines []string, raw string) {
	s := newScene(t, grant)
	note := func(what, text string) { lines = append(lines, what+": "+text) }
	other, err := attach.Dial(t.Context(), s.attach.Addr()) // whose counts the page must not show
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	hidden, err := other.Socket(rxring.SockRaw, 3) // ETH_P_ALL
	if err != nil {
		t.Fatal(err)
	}
	defer hidden.Close()

	table := s.stream("/packets/events?device=wg0")
	var names []string
	table.await("devices", &names)
	note("devices", fmt.Sprint(names))
	var id string
	table.await("table", &id)
	take := make(chan string, 1)
	listeners := func() (n int) {
		for range s.device("wg0").Sockets() {
			n++
		}
		return n
	}
	before := listeners()
	go func() { take <- s.get(fmt.Sprintf("/take?device=wg0&packets=%d", shown)) }()
	for end := time.Now().Add(20 * time.Second); listeners() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the download has no socket")
		}
	}
	for i, step := range steps {
		if data := step.in[world]; data != nil {
			s.device(step.device).Deliver(&rxring.Packet{Data: slices.Clone(data), Timestamp: 1e9 + int64(i)})
		}
	}
	rows := table.rows(shown)
	for _, r := range rows {
		note("row", fmt.Sprintf("%+v", r))
		body := s.get(fmt.Sprintf("/packets/%s/%d", id, r.N))
		note("detail", body)
		raw += body
	}
	var counts any
	for range 2 {
		table.await("counts", &counts)
	}
	note("counts", fmt.Sprint(counts))
	file := <-take
	raw += file
	for _, p := range readAll(t, strings.NewReader(file)) {
		note("file", fmt.Sprintf("%+v", p))
	}

	kept := s.get("/packets/" + id + "/kept")
	raw += kept
	for _, p := range readAll(t, strings.NewReader(kept)) {
		note("kept", fmt.Sprintf("%+v", p))
	}

	overview := s.stream("/overview/events")
	var snap struct {
		Devices json.RawMessage
		Sockets []struct {
			Device, Program             string
			Offered, Filtered, Captured uint64
			Dropped                     map[string]uint64
			Filter                      int
			Losses                      json.RawMessage
		}
	}
	overview.await("snapshot", &snap)
	note("overview devices", string(snap.Devices))
	note("overview sockets", fmt.Sprintf("%+v", snap.Sockets))
	table.close()
	overview.close()
	return lines, raw + table.raw.String() + overview.raw.String()
}

// TestNoninterference: a browser learns nothing of the packets and bytes that the page's grant
// hides.
func TestNoninterference(t *testing.T) {
	need.Time(t, "it waits for samples")
	for range 3 {
		seed := rand.Uint64()
		steps, shown, secrets := drawSteps(t, rand.New(rand.NewPCG(seed, 0)))
		grant := headersOnly(t)
		one, raw := observe(t, grant, steps, shown, 0)
		other, otherRaw := observe(t, grant, steps, shown, 1)
		if len(one) != len(other) {
			t.Fatalf("seed %d: %d lines in a world, %d in another", seed, len(one), len(other))
		}
		for i, line := range one {
			if line != other[i] {
				t.Errorf("seed %d: the page shows what is hidden:\n%s\nand in another world:\n%s", seed, line, other[i])
			}
		}
		for _, text := range secrets {
			for _, form := range []string{text, hex.EncodeToString([]byte(text))} {
				if strings.Contains(raw+otherRaw, form) {
					t.Errorf("seed %d: a response contains payload: %s", seed, form)
				}
			}
		}
		if !strings.Contains(raw, hex.EncodeToString([]byte{192, 0, 2, 1})) {
			t.Errorf("seed %d: no response contains headers", seed)
		}
	}
}

// TestNoninterferenceLooks shows that the property can fail: without the grant, the worlds differ
// in all that a browser observes.
func TestNoninterferenceLooks(t *testing.T) {
	need.Time(t, "it compares many runs")
	var steps []worldStep
	p := func(text string) []byte {
		return linetest.Frame(t, linetest.Ether(layers.EthernetTypeIPv4), linetest.IP4(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1, DstPort: 80}, gopacket.Payload(text))
	}
	steps = append(steps, worldStep{"wg0", [2][]byte{p("SECRET-1"), p("SECRET-22")}}, worldStep{"secret0", [2][]byte{udp(t, 1, "x"), nil}}, worldStep{"wg0", [2][]byte{nil, udp(t, 1, "y")}})
	one, raw := observe(t, attach.Grant{AllStatus: true}, steps, 1, 0)
	other, _ := observe(t, attach.Grant{AllStatus: true}, steps, 1, 1)
	differ := make(map[string]bool)
	for i := range min(len(one), len(other)) {
		if what, _, _ := strings.Cut(one[i], ":"); one[i] != other[i] {
			differ[what] = true
		}
	}
	for _, what := range []string{"row", "detail", "counts", "file", "kept", "overview sockets"} {
		if !differ[what] {
			t.Errorf("%s does not differ between the worlds", what)
		}
	}
	if !strings.Contains(raw, hex.EncodeToString([]byte("SECRET-1"))) || !strings.Contains(raw, "SECRET-1") {
		t.Error("no response contains the payload")
	}
}
