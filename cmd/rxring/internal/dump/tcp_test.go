package dump

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/capfile"
)

// openNet0 opens a device without packets.
func openNet0(t *testing.T) *Input {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	if _, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"}); err != nil {
		t.Fatal(err)
	}
	in, err := OpenDevices(ns, nil, capture.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return in
}

// serveTCP returns an output with one client, and how to connect further ones.
func serveTCP(t *testing.T) (out *tcpOutput, first net.Conn, connect func() net.Conn) {
	t.Helper()
	in := openNet0(t)
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := probe.Addr().String()
	probe.Close()
	connect = func() net.Conn {
		for {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				t.Cleanup(func() { conn.Close() })
				return conn
			}
			if t.Context().Err() != nil {
				return nil
			}
			time.Sleep(time.Millisecond)
		}
	}
	connected := make(chan net.Conn)
	go func() { connected <- connect() }()
	d := &dumper{Config: Config{File: tcpScheme + address, Quiet: true}, in: in}
	if out, err = newTCPOutput(t.Context(), d, os.Stderr); err != nil {
		t.Fatal(err)
	}
	return out, <-connected, connect
}

func init() { probeInterval = 20 * time.Millisecond }

// device returns the one device.
func (t *tcpOutput) device() *device {
	for d := range t.ids {
		return d
	}
	return nil
}

func (t *tcpOutput) clientCount() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.clients)
}

// received reads a client's stream to its end: the packets, and the drops that were reported.
func received(t *testing.T, conn io.Reader) (packets, dropped uint64) {
	r, err := capfile.NewReader(conn)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer r.Close()
	r.SetEvents(capfile.Events{Stats: func(_ int, s capfile.Stats) { dropped = *s.Dropped }})
	for {
		_, err := r.Next()
		if err == io.EOF {
			return packets, dropped
		}
		if err != nil {
			t.Error(err)
			return packets, dropped
		}
		packets++
	}
}

// A client that does not read loses packets, which are counted in its stream to the last one;
// another client loses none.
func TestASlowClientLosesItsOwnPacketsOnly(t *testing.T) {
	need.Time(t, "it captures for a second")
	out, slow, connect := serveTCP(t)
	fast := connect()
	for out.clientCount() < 2 {
		time.Sleep(time.Millisecond)
	}
	type result struct{ packets, dropped uint64 }
	results := make(chan result)
	go func() {
		p, d := received(t, fast)
		results <- result{p, d}
	}()
	const n = 1000
	p := packet{device: out.device(), time: 1e9, len: 60000, data: make([]byte, 60000)}
	for i := range n { // more than the queue and the kernel's buffers hold
		if err := out.write(&p); err != nil {
			t.Fatal(err)
		}
		for i%50 == 0 && fastIsBehind(out, fast) {
			time.Sleep(time.Millisecond)
		}
	}
	out.idle()
	go out.close(capture.Stats{Drops: 7}) // 7 are dropped before they reach the output
	if got := <-results; got != (result{n, 7}) {
		t.Errorf("the fast client has %+v, want %d packets and 7 drops", got, n)
	}
	packets, dropped := received(t, slow)
	if packets == n || packets+dropped != n+7 {
		t.Errorf("the slow client has %d packets and %d drops, want less than %d packets, with the drops %d", packets, dropped, n, n+7)
	}
}

// Blocks that are longer than the encoder's buffer arrive whole: packets, and what a source has
// besides them, also at a client that connects later.
func TestLongBlocks(t *testing.T) {
	const size = 1 << 20 // more than the buffer has
	out, first, connect := serveTCP(t)
	var extras capfile.Extras
	var source capfile.Events
	extras.Collect(&source, func(err error) { t.Error(err) })
	out.extras = capfile.NewExtraCursor([]*capfile.Extras{&extras})
	source.Secrets(capfile.Secrets{Type: 1, Data: bytes.Repeat([]byte{1}, size)})
	source.Secrets(capfile.Secrets{Type: 2, Data: []byte{2}})
	if err := out.idle(); err != nil {
		t.Fatal(err)
	}
	second := connect()
	for out.clientCount() < 2 {
		time.Sleep(time.Millisecond)
	}
	p := packet{device: out.device(), time: 1e9, len: capfile.MaxPacket, data: bytes.Repeat([]byte{3}, capfile.MaxPacket)}
	if err := out.write(&p); err != nil {
		t.Fatal(err)
	}
	go out.close(capture.Stats{})
	for _, conn := range []net.Conn{first, second} {
		r, err := capfile.NewReader(conn)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		secrets := 0
		r.SetEvents(capfile.Events{Secrets: func(s capfile.Secrets) { secrets += len(s.Data) }})
		got, err := r.Next()
		if err != nil || !bytes.Equal(got.Data, p.data) || secrets != size+1 {
			t.Errorf("packet of %d bytes, %d bytes of secrets, %v", len(got.Data), secrets, err)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Error(err)
		}
	}
}

// Clients that have left make room for others, although no packet was sent that they would refuse.
// One that has only ended its own side stays.
func TestClientsThatLeaveWhenNoPacketArrives(t *testing.T) {
	out, stays, connect := serveTCP(t)
	if err := stays.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for range 2 * maxClients {
		conn := connect()
		if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil { // it is served
			t.Fatal(err)
		}
		conn.Close()
		for deadline := time.Now().Add(time.Minute); out.clientCount() > 1; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a client that has left is served")
			}
		}
	}
	if err := out.write(&packet{device: out.device(), time: 1e9, len: 60, data: make([]byte, 60)}); err != nil {
		t.Fatal(err)
	}
	go out.close(capture.Stats{})
	if packets, _ := received(t, stays); packets != 1 {
		t.Errorf("%d packets", packets)
	}
}

// fastIsBehind reports whether the client whose peer is conn has something queued.
func fastIsBehind(out *tcpOutput, conn net.Conn) bool {
	out.mu.Lock()
	defer out.mu.Unlock()
	for c := range out.clients {
		if c.conn.RemoteAddr().String() == conn.LocalAddr().String() {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.pending) > 0
		}
	}
	return false
}

// A client that receives nothing for some time is disconnected: it must not keep its place.
func TestAStalledClientIsDisconnected(t *testing.T) {
	need.Time(t, "it waits for a deadline")
	out, first, connect := serveTCP(t)
	out.mu.Lock()
	out.stall = 50 * time.Millisecond
	out.mu.Unlock()
	connect() // and the one before has a minute
	for out.clientCount() < 2 {
		time.Sleep(time.Millisecond)
	}
	p := packet{device: out.device(), time: 1e9, len: 60000, data: make([]byte, 60000)}
	for out.clientCount() > 1 {
		if err := out.write(&p); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	first.Close() // close waits for it
	out.close(capture.Stats{})
}

// Clients that leave, send text, or are too many harm nothing.
func TestClientsComeAndGo(t *testing.T) {
	out, first, connect := serveTCP(t)
	p := packet{device: out.device(), time: 1e9, len: 60, data: make([]byte, 60)}
	first.Close()
	for out.clientCount() > 0 { // it is noticed when it is sent something
		if err := out.write(&p); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	last := connect()
	for range maxClients - 1 {
		connect().Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	}
	for out.clientCount() < maxClients {
		time.Sleep(time.Millisecond)
	}
	if text, err := io.ReadAll(connect()); string(text) != "rxring: there are 16 clients already: try again later\n" || err != nil {
		t.Errorf("client %d reads %q, %v", maxClients+1, text, err)
	}
	out.write(&p)
	go out.close(capture.Stats{})
	if packets, _ := received(t, last); packets != 1 {
		t.Errorf("%d packets, want 1", packets)
	}
}

func TestAddressesThatAreNotServed(t *testing.T) {
	for file, want := range map[string]string{
		"tcp:57012":         "-w tcp:57012: want tcp:HOST:PORT, such as tcp:127.0.0.1:57012; ./tcp:57012 is a file",
		"tcp:127.0.0.1:":    "want tcp:HOST:PORT",
		"tcp::57012":        "-w tcp::57012: want a loopback address, such as tcp:127.0.0.1:57012, or --public with it",
		"tcp:0.0.0.0:0":     "want a loopback address",
		"tcp:127.0.0.1:70k": "-w tcp:127.0.0.1:70k: ",
	} {
		c := Config{File: file}
		err := c.Check()
		if err == nil {
			_, err = newTCPOutput(t.Context(), &dumper{Config: c}, os.Stderr)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", file, err, want)
		}
	}
	if err := (&Config{File: "x", Public: true}).Check(); err == nil || !strings.Contains(err.Error(), "--public: want -w tcp:HOST:PORT with it") {
		t.Error(err)
	}
}

// Without a client the end of the context ends the wait.
func TestWaitingForAClientEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	if _, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"}); err != nil {
		t.Fatal(err)
	}
	in, err := OpenDevices(ns, nil, capture.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := newTCPOutput(ctx, &dumper{Config: Config{File: "tcp:127.0.0.1:0", Quiet: true}, in: in}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.close(capture.Stats{}); err != nil {
		t.Error(err)
	}
}
