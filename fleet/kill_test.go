package fleet_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/fleet/hub"
	"github.com/rxring/rxring/internal/need"
)

// kills is small in a run of all tests. For a thorough run: go test ./fleet -run TestKills -kills 50.
var kills = flag.Int("kills", 3, "rounds of TestKills")

// killLease is longer than a hub is away.
const killLease = 6 * time.Second

// roles are programs that TestKills kills, and that benchmarks measure: this one, with roleVariable
// in its environment and what it needs in argVariable. They end with their standard input.
var roles = map[string]func() error{"hub": hubRole, "ship": shipRole, "read": readRole}

const (
	roleVariable = "RXRING_FLEET_TEST_ROLE"
	argVariable  = "RXRING_FLEET_TEST_ARG"
)

func hubRole() error {
	h, err := hub.Start(hub.Config{Listen: os.Getenv(argVariable)})
	if err != nil {
		return err
	}
	defer h.Close()
	fmt.Println(h.URL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// shipStatus is what a shipper has, in answer to a line "pause": from then on it delivers nothing
// until a line "resume".
type shipStatus struct {
	Sent uint32
	Taps int
}

// shipRole ships eth0, on which packets are delivered that have their number and the argument.
func shipRole() error {
	var url, life, lease string
	fmt.Sscan(os.Getenv(argVariable), &url, &life, &lease)
	leaseTime, err := time.ParseDuration(lease)
	if err != nil {
		return err
	}
	nc, err := fleet.Dial(url)
	if err != nil {
		return err
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(eth0)
	if err != nil {
		return err
	}
	if _, err := fleet.Ship(nc, ns, fleet.ShipConfig{Host: "h", Lease: leaseTime, Buffer: 64 << 20}); err != nil {
		return err
	}
	var mu sync.Mutex // held while it is paused
	sent := uint32(0)
	mu.Lock()
	go func() {
		for ; ; time.Sleep(time.Millisecond) {
			mu.Lock()
			for range 8 {
				b := frame(int(sent))
				b[18] = life[0]
				sent++
				dev.Deliver(&rxring.Packet{Data: b})
			}
			mu.Unlock()
		}
	}()
	fmt.Println("ready")
	paused := true
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch {
		case in.Text() == "resume" && paused:
			paused = false
			mu.Unlock()
		case in.Text() == "pause":
			if !paused {
				paused = true
				mu.Lock()
			}
			text, err := json.Marshal(shipStatus{sent, sockets(dev)})
			if err != nil {
				return err
			}
			fmt.Printf("%s\n", text)
		}
	}
	return nil
}

// readRole captures what the host ships, with a filter of its own.
func readRole() error {
	nc, err := fleet.Dial(os.Getenv(argVariable))
	if err != nil {
		return err
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	hosts, err := fleet.Discover(ctx, nc, fleet.Query{})
	if err != nil {
		return err
	}
	r, err := fleet.NewReader(nc, hosts, fleet.ReaderConfig{Namespace: ns})
	if err != nil {
		return err
	}
	if err := r.Start(); err != nil {
		return err
	}
	h, err := capture.OpenDevice(r.Devices()[0], capture.Config{Promiscuous: true, Filter: only(100)})
	if err != nil {
		return err
	}
	if _, err := h.Next(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// party is a process that may be killed.
type party struct {
	t      testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

func startParty(t testing.TB, role, arg string) (p *party, line string) {
	t.Helper()
	p = &party{t: t, cmd: exec.Command("/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role, argVariable+"="+arg)
	p.cmd.Stderr = &p.stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p, p.line()
}

func (p *party) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.kill()
		p.t.Fatalf("%v: %s", err, p.stderr.String())
	}
	return strings.TrimSpace(line)
}

// kill kills the process with SIGKILL. It may be called again.
func (p *party) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

func (p *party) pause() (st shipStatus) {
	p.t.Helper()
	fmt.Fprintln(p.in, "pause")
	line := p.line()
	if err := json.Unmarshal([]byte(line), &st); err != nil {
		p.t.Fatalf("%q: %v", line, err)
	}
	return st
}

func (p *party) resume() { fmt.Fprintln(p.in, "resume") }

// killScene is a hub, a host and a reader, each in a process of its own, and a survivor: a reader
// here, which checks all that it captures.
type killScene struct {
	t                 *testing.T
	address           string
	hub, ship, reader *party
	life              byte // of the shipper
	survivor          *reading
	handle            *capture.Handle
	captured          atomic.Uint64
	disorder          atomic.Pointer[string]
	base              uint64 // captured and dropped before this life of the shipper
}

// TestKills kills the hub, the host and a reader with SIGKILL, in turn, while packets flow, and
// starts them again. A reader that survives captures every packet once and in order or, while the
// host lives, counts it as lost; afterwards the host has the survivor's tap alone.
func TestKills(t *testing.T) {
	need.Time(t, "it kills processes for ten seconds")
	t.Parallel()
	k := newKillScene(t)
	for round := range *kills {
		k.ship.resume()
		time.Sleep(100 * time.Millisecond)
		switch round % 3 {
		case 0:
			k.hub.kill()
			time.Sleep(100 * time.Millisecond)
			k.startHub()
			k.flows("the hub was killed")
			k.exact()
		case 1:
			k.reader.kill()
			k.startReader()
			k.exact()
		case 2:
			k.ship.kill()
			k.startShip()
		}
		if text := k.disorder.Load(); text != nil {
			t.Fatalf("round %d: %s", round, *text)
		}
	}
	k.ship.resume()
	k.flows("the last kill")
	k.exact()
	k.reader.kill()
	eventually(t, "the tap of the survivor alone", func() bool { return k.ship.pause().Taps == 1 })
	t.Logf("captured %d, %+v", k.captured.Load(), k.survivor.Counts())
}

func newKillScene(t *testing.T) *killScene {
	k := &killScene{t: t, life: 'a' - 1, address: "127.0.0.1:0"}
	k.startHub()
	k.newShip()
	k.survivor = read(t, dial(t, "nats://"+k.address), fleet.ReaderConfig{})
	k.handle = k.survivor.open(t, capture.Config{Buffer: 64 << 20})
	var wg sync.WaitGroup
	wg.Go(func() {
		for last := uint64(0); ; {
			p, err := k.handle.Next(t.Context())
			if errors.Is(err, syscall.ENETDOWN) {
				continue // the host was killed
			}
			if err != nil {
				return
			}
			n := uint64(p.Data[18])<<32 | uint64(binary.BigEndian.Uint32(p.Data[14:]))
			if n <= last && k.disorder.Load() == nil {
				text := fmt.Sprintf("packet %#x after %#x", n, last)
				k.disorder.Store(&text)
			}
			last = n
			k.captured.Add(1)
		}
	})
	t.Cleanup(func() { k.handle.Close(); wg.Wait() })
	k.await()
	k.ship.resume()
	k.startReader()
	k.exact()
	return k
}

func (k *killScene) startHub() {
	k.t.Helper()
	var line string
	k.hub, line = startParty(k.t, "hub", k.address)
	k.address = strings.TrimPrefix(line, "nats://")
	if _, _, err := net.SplitHostPort(k.address); err != nil {
		k.t.Fatal(err)
	}
}

// newShip starts a shipper that is paused.
func (k *killScene) newShip() {
	k.t.Helper()
	k.life++
	k.ship, _ = startParty(k.t, "ship", fmt.Sprintf("nats://%s %c %v", k.address, k.life, killLease))
}

// startShip starts a shipper and returns when the survivor captures there, with a reader more.
func (k *killScene) startShip() {
	k.t.Helper()
	sessions := k.survivor.Counts().Sessions
	k.newShip()
	eventually(k.t, "a session with the new host", func() bool { return k.survivor.Counts().Sessions > sessions })
	k.await()
	k.base = k.accounted()
}

// await returns once the survivor's device is up and the host captures for it.
func (k *killScene) await() {
	k.t.Helper()
	eventually(k.t, "the survivor captures", func() bool { return k.survivor.dev.Up() && k.ship.pause().Taps > 0 })
}

func (k *killScene) startReader() {
	k.t.Helper()
	k.reader, _ = startParty(k.t, "read", "nats://"+k.address)
}

func (k *killScene) accounted() uint64 {
	k.t.Helper()
	captured, drops := sum(k.t, k.handle)
	return captured + drops.Sum()
}

// flows returns once the survivor has captured more.
func (k *killScene) flows(since string) {
	k.t.Helper()
	before := k.captured.Load()
	eventually(k.t, "packets since "+since, func() bool { return k.captured.Load() > before })
}

// exact pauses the host, and checks that what it sent in this life was captured or lost.
func (k *killScene) exact() {
	k.t.Helper()
	sent := k.ship.pause().Sent
	whole(k.t, k.handle, k.base+uint64(sent))
}
