package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/capfile"
)

// A client for whose rings there is no memory gets a line with the limit and the cure. Clients leave half
// of the namespace's memory to other readers.
func TestMemoryOfAllClients(t *testing.T) {
	s := newScene(t, Config{}, "eth0", "eth1")
	var refused error
	clients := 0
	for refused == nil && clients < 16 {
		_, refused = s.request(Request{Device: "eth0"})
		clients++
	}
	if want := `the server refuses: device "eth0": no memory for its ring of 4MiB: the rings of all clients hold 12584448 bytes of at most 16MiB (Config.Memory), and those of the namespace at most 32MiB: want one "device" in the request, or try again when another client has left`; refused == nil || refused.Error() != want {
		t.Errorf("client %d: %v, want %s", clients, refused, want)
	}
	for range 3 {
		h, err := capture.OpenDevice(s.device("eth1"), capture.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
	}
}

// A namespace whose memory others hold refuses a client in the same way.
func TestMemoryOfTheNamespace(t *testing.T) {
	s := newScene(t, Config{}, "eth0")
	h, err := capture.OpenDevice(s.device("eth0"), capture.Config{Buffer: maxMemory - 1<<20})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	_, err = s.request(Request{})
	if want := `device "eth0": no memory for its ring of 4MiB: the rings of all clients hold 0 bytes`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// recorded has what a client has received so far.
type recorded struct {
	io.Reader
	mu  sync.Mutex
	all bytes.Buffer
}

func (r *recorded) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.Write(b[:n])
	return n, err
}

func (r *recorded) has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.all.Bytes(), []byte(text))
}

// A device that is added when there is no memory for its ring is described with the reason, and
// sent once there is memory. The client keeps the others.
func TestADeviceWaitsForMemory(t *testing.T) {
	s := newScene(t, Config{Memory: 6 << 20}, "eth0")
	in := &recorded{Reader: s.dial()}
	c, err := s.read(in)
	if err != nil {
		t.Fatal(err)
	}
	late := s.add(rxring.DeviceConfig{Name: "late0"})
	eth0 := s.device("eth0")
	await(t, "the reason", func() bool { // which is sent with the next packet that is read
		eth0.Deliver(frame(1, 60))
		return c.next() == "eth0: 60 of 60: 1" && in.has("packets are missing until there is memory")
	})
	if late.HasListeners() {
		t.Error("late0 has a ring")
	}
	if err := s.ns.RemoveDevice(eth0); err != nil {
		t.Fatal(err)
	}
	await(t, "a reader on late0", late.HasListeners)
	late.Deliver(frame(2, 60))
	for got := c.next(); got != "late0: 60 of 60: 2"; got = c.next() {
		if got != "eth0: 60 of 60: 1" {
			t.Fatal(got)
		}
	}
	if ins := c.Interfaces(); len(ins) != 2 {
		t.Errorf("%+v", ins)
	}
}

// A device that is removed and added again, up or down, has the interface that it had, whose
// counts continue.
func TestADeviceThatIsAddedAgain(t *testing.T) {
	need.Time(t, "it waits for a second")
	s := newScene(t, Config{})
	c, err := s.request(Request{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		d := s.add(rxring.DeviceConfig{Name: "veth0"})
		await(t, "a reader", d.HasListeners)
		d.Lost(1)
		d.Deliver(frame(n, 60))
		if got, want := c.next(), fmt.Sprintf("veth0: 60 of 60: %d", n); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
		d.SetUp(n%2 == 0)
		if err := s.ns.RemoveDevice(d); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the release of all rings", func() bool { return s.rings.Held() == 0 })
	go s.Close()
	if got := c.next(); got != "EOF" || len(c.Interfaces()) != 1 || c.dropped != 20 {
		t.Errorf("%s, %d interfaces, %d dropped: want the end, 1 and 20", got, len(c.Interfaces()), c.dropped)
	}
}

// A session forgets devices that were removed.
func TestASessionForgetsRemovedDevices(t *testing.T) {
	s := newScene(t, Config{})
	conn, _ := net.Pipe()
	c := newSession(s.Server, conn)
	for n := range 50 {
		d := s.add(rxring.DeviceConfig{Name: fmt.Sprintf("veth%d", n)})
		opened, err := c.openNew()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range opened {
			a.close()
		}
		if err := s.ns.RemoveDevice(d); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.served) > 3 { // lo, the last, and the one before
		t.Errorf("%d devices are known", len(c.served))
	}
}

// A stream ends at a block's end, and says why, when it has described as many interfaces as a
// file can have.
func TestAsManyInterfacesAsAFileCanHave(t *testing.T) {
	s := newScene(t, Config{})
	conn, peer := net.Pipe()
	c := newSession(s.Server, conn)
	in := &recorded{Reader: peer}
	ended := make(chan error)
	go func() {
		r, err := capfile.NewReader(in)
		if err == nil {
			_, err = r.Next()
			if n := len(r.Interfaces()); n != capfile.MaxInterfaces {
				t.Errorf("%d interfaces", n)
			}
			r.Close()
		}
		ended <- err
	}()
	var err error
	if c.w, err = capfile.NewWriter(deadlineWriter{c}, capfile.Section{}); err != nil {
		t.Fatal(err)
	}
	for n := range capfile.MaxInterfaces {
		if _, err := c.interfaceOf(capfile.Interface{Name: fmt.Sprintf("veth%d", n)}); err != nil {
			t.Fatal(err)
		}
	}
	a := c.newCapture(s.add(rxring.DeviceConfig{Name: "more0"}))
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	c.start(a)
	c.close()
	if err := <-ended; err != io.EOF {
		t.Error(err)
	}
	want := `device "more0": the stream has described 1024 interfaces, which is the most, and ends: connect again`
	if err := context.Cause(c.ctx); err.Error() != want || !in.has(want) {
		t.Errorf("%v", err)
	}
	if !errors.Is(c.ctx.Err(), context.Canceled) || s.rings.Held() != 0 {
		t.Errorf("%d bytes are held", s.rings.Held())
	}
}

// A client that leaves before the beginning of its stream was written holds no memory.
func TestAClientThatLeavesAtTheBeginning(t *testing.T) {
	need.Time(t, "it waits for a second")
	var extras capfile.Extras
	var source capfile.Events
	extras.Collect(&source, func(err error) { t.Error(err) })
	source.Secrets(capfile.Secrets{Data: make([]byte, capfile.MaxExtras-1024)}) // more than the kernel's buffers have room for
	s := newScene(t, Config{Extras: []*capfile.Extras{&extras}}, "eth0")
	for range 2 * maxMemory / (4 << 20) {
		conn := s.dial()
		if _, err := conn.Write([]byte("{}\n")); err != nil {
			t.Fatal(err)
		}
		conn.(*net.TCPConn).CloseWrite()
		await(t, "a reader", s.device("eth0").HasListeners)
		conn.(*net.TCPConn).SetLinger(0) // a reset
		conn.Close()
		await(t, "the release of the ring", func() bool { return s.rings.Held() == 0 && s.Clients() == 0 })
	}
}

// Clients that leave are forgotten, with the memory of their rings, although no packet is sent that
// they would refuse. One that has only ended its own side stays.
func TestClientsThatLeaveWhenNoPacketArrives(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		s := newSceneAt(t, network, Config{}, "eth0")
		stays := s.dial()
		if err := stays.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c, err := s.read(stays)
		if err != nil {
			t.Fatal(err)
		}
		await(t, "a reader", s.device("eth0").HasListeners)
		held := s.rings.Held()
		for range 3 {
			conn := s.dial()
			if _, err := s.read(conn); err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
		await(t, "the release of the rings", func() bool { return s.Clients() == 1 && s.rings.Held() == held })
		s.device("eth0").Deliver(frame(1, 60))
		if got := c.next(); got != "eth0: 60 of 60: 1" {
			t.Errorf("%s: %s", network, got)
		}
	}
}
