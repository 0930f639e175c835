package fleet_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/need"
)

// pretend answers as host h, with the devices of a list.
func pretend(t *testing.T, nc *nats.Conn, list string) {
	t.Helper()
	for subject, text := range map[string]string{
		"$SRV.INFO.rxring":            `{"metadata":{"fleet":"default","host":"h","classes":"all"}}`,
		"rxring.v1.default.h.ctl.all": `{"devices":[` + list + `]}`,
	} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) { m.Respond([]byte(text)) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// A host that describes its devices wrongly does not keep a reader from those of others.
func TestDevicesThatCannotBe(t *testing.T) {
	t.Parallel()
	hub := startHub(t, "127.0.0.1:0")
	far := newDevice(t, eth0)
	ship(t, dial(t, hub.URL()), far, fleet.ShipConfig{Host: "web-1"})
	pretend(t, dial(t, hub.URL()), `{"name":"a","type":9999,"mtu":1500},{"name":"b","type":1,"mtu":-1},{"name":"c","type":1,"mtu":1500,"address":[1,0,0,0,0,0]},{"name":"`+strings.Repeat("d", 5000)+`","type":1,"mtu":1500},{"name":"e","type":1,"mtu":1500,"up":true}`)
	nc := dial(t, hub.URL())
	r := read(t, nc, fleet.ReaderConfig{})
	var names []string
	for _, d := range r.Devices() {
		names = append(names, d.Name())
	}
	if got := strings.Join(names, " "); got != "h.a h.e web-1.eth0" {
		t.Errorf("devices %s", got)
	}
	for _, name := range []string{"b", "c"} {
		if !r.reported("device " + name + " of host h: ") {
			t.Errorf("device %s is not reported", name)
		}
	}
	dev := r.Devices()[len(names)-1]
	h := open(t, dev, capture.Config{})
	eventually(t, "a session", func() bool { return r.DeviceCounts(dev).Sessions > 0 })
	send(far, 0, 10)
	whole(t, h, 10)
	if n := nc.Stats().Reconnects; n != 0 {
		t.Errorf("the server ended the reader's connection %d times", n)
	}
}

// Whatever length its readers' requests have, a host answers, what it answers fits into a message,
// and its log stays short.
func TestLongRequests(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	t.Parallel()
	hub := startHub(t, "127.0.0.1:0")
	far := newDevice(t, eth0)
	log := new(logBuffer)
	ship(t, dial(t, hub.URL()), far, fleet.ShipConfig{Host: "h", Buffer: 1 << 20, Logger: slog.New(slog.NewTextHandler(log, nil))})
	nc := dial(t, hub.URL())
	ask := func(q string) (a struct {
		Error    *struct{ Code string }
		Sessions []fleet.SessionStatus
	}) {
		t.Helper()
		m, err := nc.Request("rxring.v1.default.h.ctl.all", []byte(q), time.Minute)
		if err == nil {
			err = json.Unmarshal(m.Data, &a)
		}
		if err != nil {
			t.Errorf("%.60s: %v", q, err)
		}
		return a
	}
	long := strings.Repeat(`\u0001`, 150_000)
	for _, q := range []string{
		`{"op":"` + long + `"}`,
		`{"op":"open","device":"` + long + `"}`,
		`{"op":"open","device":"eth0","reader":"` + long + `"}`,
		`{"op":"open","device":"eth0","reader":"r","user":"` + long + `"}`,
		`{"op":"open","device":"eth0","reader":"r","what":{"compress":"` + long + `"}}`,
		`{"op":"open","device":"eth0","reader":"r","what":{"programs":[` + strings.Repeat("[],", 300_000) + `[]]}}`,
		`{"op":"open","device":"eth0","reader":"r","what":{"snaplen":` + strings.Repeat("1", 900_000) + `}}`,
		`{"op":"keep","session":"` + long + `"}`,
	} {
		if ask(q).Error == nil {
			t.Errorf("%.60s: no error", q)
		}
	}
	log.mu.Lock()
	if n := log.text.Len(); n > 100_000 {
		t.Errorf("the log has %d bytes", n)
	}
	log.mu.Unlock()
	const sessions, readers = 64, 16
	for i := range sessions {
		program := `[6,0,0,4294967295]`
		if i == 0 {
			program = strings.Repeat(program+",", 255) + program
		}
		for j := range readers {
			q := fmt.Sprintf(`{"op":"open","device":"eth0","reader":"r%d","user":"%s","what":{"snaplen":%d,"compress":"none","programs":[[%s]]}}`, j, strings.Repeat(`\u0001`, 255), i+1, program)
			if a := ask(q); a.Error != nil {
				t.Fatalf("session %d, reader %d: %+v", i, j, a.Error)
			}
		}
	}
	all := ask(`{"op":"stat"}`).Sessions
	if len(all) != sessions {
		t.Fatalf("%d sessions", len(all))
	}
	longest := 0
	for _, s := range all {
		if s.ReaderCount != readers {
			t.Fatalf("%+v", s)
		}
		switch s.Instructions {
		case 256:
			longest++
		case 1:
		default:
			t.Fatalf("%+v", s)
		}
	}
	if longest != 1 {
		t.Fatalf("%d sessions have a filter of 256 instructions: want 1", longest)
	}
}

// wall is a TCP proxy that stops reading from its client.
type wall struct {
	net.Listener
	stopped atomic.Bool
}

func newWall(t *testing.T, target string) *wall {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wall{Listener: l}
	done := make(chan struct{})
	t.Cleanup(func() { close(done); l.Close() })
	copyTo := func(to, from net.Conn) {
		defer to.Close()
		defer from.Close()
		for b := make([]byte, 4096); ; {
			if w.stopped.Load() {
				<-done
				return
			}
			n, err := from.Read(b)
			if err != nil {
				return
			}
			to.Write(b[:n])
		}
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			go copyTo(up, client)
			go copyTo(client, up)
		}
	}()
	return w
}

// A shipper is closed although its server, such as one that is stopped, does not receive.
func TestCloseWithoutAServer(t *testing.T) {
	need.Time(t, "Close waits for the server")
	t.Parallel()
	hub := startHub(t, "127.0.0.1:0")
	w := newWall(t, strings.TrimPrefix(hub.URL(), "nats://"))
	far := newDevice(t, rxring.DeviceConfig{Name: "eth0", MTU: 1500, MaxLen: 65535})
	nc := dial(t, "nats://"+w.Addr().String())
	s := ship(t, nc, far, fleet.ShipConfig{Host: "h"})
	r := read(t, dial(t, hub.URL()), fleet.ReaderConfig{Compress: fleet.None})
	r.open(t, capture.Config{})
	w.stopped.Store(true)
	data := make([]byte, 60000)
	for range 2000 {
		far.Deliver(&rxring.Packet{Data: data})
		time.Sleep(time.Millisecond)
	}
	begin := time.Now()
	s.Close()
	nc.Close()
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A reader that leaves a session with much to filter for another one does not delay those who have it.
func TestReaderThatLeavesASlowSession(t *testing.T) {
	need.Time(t, "many packets are filtered slowly")
	t.Parallel()
	hub := startHub(t, "127.0.0.1:0")
	far := newDevice(t, eth0)
	ship(t, dial(t, hub.URL()), far, fleet.ShipConfig{Host: "h"})
	slow := slices.Repeat([][]cbpf.Instruction{append(slices.Repeat([]cbpf.Instruction{{Op: cbpf.OpLdImm}}, 4000), cbpf.Instruction{Op: cbpf.OpRetK})}, 4)
	other := newClient(t, hub.URL(), "all")
	if err := other.batches.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	other.open(slow, 0)
	c := newClient(t, hub.URL(), "all")
	whole := map[string]any{"compress": "none"}
	c.ask(map[string]any{"op": "open", "device": "eth0", "reader": "stays", "what": whole})
	var a struct{ Session string }
	if err := json.Unmarshal(c.ask(map[string]any{"op": "open", "device": "eth0", "reader": "leaves", "what": map[string]any{"compress": "none", "snaplen": 0, "promiscuous": true, "programs": rows(slow)}}), &a); err != nil {
		t.Fatal(err)
	}
	for range 60_000 {
		far.Deliver(&rxring.Packet{Data: frame(0)})
	}
	time.Sleep(100 * time.Millisecond) // the session of everything has sent these
	joined := make(chan []byte)
	go func() {
		joined <- c.ask(map[string]any{"op": "open", "device": "eth0", "reader": "leaves", "session": a.Session, "what": whole})
	}()
	var longest time.Duration
	for {
		select {
		case <-joined:
			if longest > 500*time.Millisecond {
				t.Errorf("a packet was sent after %v", longest)
			}
			return
		default:
		}
		begin := time.Now()
		for {
			far.Deliver(&rxring.Packet{Data: frame(0)})
			if m, err := other.batches.NextMsg(time.Millisecond); err == nil && len(m.Data) > 0 {
				break
			}
		}
		longest = max(longest, time.Since(begin))
	}
}
