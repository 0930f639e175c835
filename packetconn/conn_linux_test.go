package packetconn_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/packetconn"
)

// bound is how long a test waits for what must happen.
const bound = 30 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newDevice(t testing.TB) *rxring.Device {
	t.Helper()
	d, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "net0", HardwareAddr: [6]byte{2, 0, 0, 0, 0, 1}})
	must(t, err)
	return d
}

// everyWhere runs a test on a device of this process, and on one that is offered to it.
func everyWhere(t *testing.T, test func(t *testing.T, d *rxring.Device, listen func(packetconn.Config) (*packetconn.Conn, error))) {
	t.Run("here", func(t *testing.T) {
		d := newDevice(t)
		test(t, d, func(c packetconn.Config) (*packetconn.Conn, error) { return packetconn.Listen(d, c) })
	})
	t.Run("attached", func(t *testing.T) {
		d := newDevice(t)
		_, client := offer(t, d)
		test(t, d, func(c packetconn.Config) (*packetconn.Conn, error) {
			return packetconn.ListenAttached(client, "net0", c)
		})
	})
}

func offer(t testing.TB, d *rxring.Device) (*attach.Server, *attach.Client) {
	t.Helper()
	server, err := attach.Listen(filepath.Join(t.TempDir(), "s"), attach.Config{Namespace: d.Namespace()})
	must(t, err)
	t.Cleanup(func() { server.Close() })
	client, err := attach.Dial(t.Context(), server.Addr())
	must(t, err)
	t.Cleanup(func() { client.Close() })
	return server, client
}

// frame is an Ethernet frame to all from host 9.
func frame(payload string) []byte {
	return append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x09\x88\xb5"), payload...)
}

func TestFramesAreExchanged(t *testing.T) {
	everyWhere(t, func(t *testing.T, d *rxring.Device, listen func(packetconn.Config) (*packetconn.Conn, error)) {
		sent := make(chan []byte, 1)
		d.SetTransmit(func(p *rxring.Packet) error { sent <- bytes.Clone(p.Data); return nil })
		everybody := &packetconn.Addr{HardwareAddr: net.HardwareAddr{255, 255, 255, 255, 255, 255}}
		for _, datagram := range []bool{false, true} {
			c, err := listen(packetconn.Config{Datagram: datagram, Protocol: 0x88b5})
			must(t, err)
			want := frame("question")
			if datagram {
				want = want[14:]
			}
			time.AfterFunc(10*time.Millisecond, func() { d.Deliver(&rxring.Packet{Data: frame("question")}) })
			b := make([]byte, 100)
			n, from, err := c.ReadFrom(b)
			if err != nil || !bytes.Equal(b[:n], want) || from.String() != "02:00:00:00:00:09" || from.Network() != "packet" {
				t.Errorf("datagram %v: %q from %v, %v", datagram, b[:n], from, err)
			}
			if c.LocalAddr().String() != "02:00:00:00:00:01" {
				t.Errorf("local address %v", c.LocalAddr())
			}
			answer := append([]byte("\x02\x00\x00\x00\x00\x09\x02\x00\x00\x00\x00\x01\x88\xb5"), "answer"...)
			payload, to := answer, net.Addr(nil)
			if datagram {
				payload, to = answer[14:], from
			}
			if n, err := c.WriteTo(payload, to); err != nil || n != len(payload) {
				t.Errorf("datagram %v: %d bytes, %v", datagram, n, err)
			}
			if got := <-sent; !bytes.Equal(got, answer) {
				t.Errorf("datagram %v: %q, want %q", datagram, got, answer)
			}
			if datagram { // an address of another package
				_, err := c.WriteTo(payload, otherAddr("ff:ff:ff:ff:ff:ff"))
				must(t, err)
				if got := <-sent; !bytes.Equal(got[:6], everybody.HardwareAddr) {
					t.Errorf("%q", got)
				}
			}
			must(t, c.Close())
		}
	})
}

type otherAddr string

func (otherAddr) Network() string  { return "other" }
func (a otherAddr) String() string { return string(a) }

func TestCallsEndAtTheirDeadlines(t *testing.T) {
	everyWhere(t, func(t *testing.T, d *rxring.Device, listen func(packetconn.Config) (*packetconn.Conn, error)) {
		c, err := listen(packetconn.Config{})
		must(t, err)
		b := make([]byte, 100)
		d.Deliver(&rxring.Packet{Data: frame("kept")})
		must(t, c.SetDeadline(time.Unix(1, 0)))
		isTimeout := func(what string, err error) {
			t.Helper()
			var timeout net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("%s: %v, want a timeout", what, err)
			}
		}
		_, _, err = c.ReadFrom(b)
		isTimeout("read after the deadline", err)
		_, err = c.WriteTo(frame("late"), nil)
		isTimeout("write after the deadline", err)
		must(t, c.SetDeadline(time.Time{}))
		if n, _, err := c.ReadFrom(b); err != nil || string(b[14:n]) != "kept" {
			t.Errorf("%q, %v: want the packet that was received before", b[:n], err)
		}

		time.AfterFunc(20*time.Millisecond, func() { c.SetReadDeadline(time.Now()) })
		_, _, err = c.ReadFrom(b)
		isTimeout("deadline that is set while a read waits", err)
		must(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		_, _, err = c.ReadFrom(b)
		isTimeout("read", err)

		full := atomic.Bool{}
		full.Store(true)
		d.SetTransmitReady(func(*rxring.Packet) error {
			if full.Load() {
				return syscall.EAGAIN
			}
			return nil
		})
		must(t, c.SetWriteDeadline(time.Now().Add(20*time.Millisecond)))
		_, err = c.WriteTo(frame("no room"), nil)
		isTimeout("write without room", err)
		must(t, c.SetWriteDeadline(time.Time{}))
		time.AfterFunc(20*time.Millisecond, func() { full.Store(false) })
		_, err = c.WriteTo(frame("room"), nil)
		must(t, err)
	})
}

func TestCloseEndsReads(t *testing.T) {
	everyWhere(t, func(t *testing.T, d *rxring.Device, listen func(packetconn.Config) (*packetconn.Conn, error)) {
		c, err := listen(packetconn.Config{})
		must(t, err)
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				if _, _, err := c.ReadFrom(make([]byte, 100)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("read: %v, want %v", err, net.ErrClosed)
				}
			})
		}
		time.Sleep(20 * time.Millisecond)
		must(t, c.Close())
		readers.Wait()
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("close twice: %v", err)
		}
		if _, err := c.WriteTo(frame(""), nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		if d.HasListeners() {
			t.Error("the socket is still there")
		}
	})
}

func TestFilters(t *testing.T) {
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 14, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 'y', SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{},
	})
	must(t, err)
	everyWhere(t, func(t *testing.T, d *rxring.Device, listen func(packetconn.Config) (*packetconn.Conn, error)) {
		c, err := listen(packetconn.Config{Filter: cbpf.From(raw)})
		must(t, err)
		defer c.Close()
		next := func() string {
			t.Helper()
			must(t, c.SetReadDeadline(time.Now().Add(bound)))
			b := make([]byte, 100)
			n, _, err := c.ReadFrom(b)
			must(t, err)
			return string(b[14:n])
		}
		deliver := func() {
			d.Deliver(&rxring.Packet{Data: frame("no")})
			d.Deliver(&rxring.Packet{Data: frame("yes")})
		}
		deliver()
		if got := next(); got != "yes" {
			t.Errorf("with Config.Filter: %q", got)
		}
		must(t, c.SetBPF(nil))
		must(t, c.SetBPF(nil))
		deliver()
		if got := next() + next(); got != "noyes" {
			t.Errorf("without a filter: %q", got)
		}
		must(t, c.SetBPF(cbpf.From(raw)))
		deliver()
		if got := next(); got != "yes" {
			t.Errorf("with SetBPF: %q", got)
		}
		if totals := c.Totals(); totals.Captured != 4 || totals.Filtered != 2 {
			t.Errorf("%+v: want 4 captured and 2 filtered", totals)
		}
		if err := c.SetBPF([]cbpf.Instruction{{Op: 0xff}}); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("a program that Linux refuses: %v", err)
		}
	})
}

// Packets for which the queue has no room are counted, and those in it are the first.
func TestPacketsThatDoNotFitAreCounted(t *testing.T) {
	everyWhere(t, func(t *testing.T, d *rxring.Device, listen func(packetconn.Config) (*packetconn.Conn, error)) {
		c, err := listen(packetconn.Config{})
		must(t, err)
		const packets = 2000
		for range packets {
			d.Deliver(&rxring.Packet{Data: frame(strings.Repeat("x", 1000))})
		}
		queued := uint64(0)
		must(t, c.SetReadDeadline(time.Now().Add(bound)))
		for b := make([]byte, 1500); queued < c.Totals().Captured; queued++ {
			_, _, err := c.ReadFrom(b)
			must(t, err)
		}
		totals := c.Totals()
		if lost := totals.Drops.Sum(); queued == 0 || lost == 0 || queued+lost != packets {
			t.Errorf("%d packets read, %d lost: want %d together", queued, lost, packets)
		}
	})
}

func TestADeviceThatGoesDown(t *testing.T) {
	everyWhere(t, func(t *testing.T, d *rxring.Device, listen func(packetconn.Config) (*packetconn.Conn, error)) {
		c, err := listen(packetconn.Config{})
		must(t, err)
		time.AfterFunc(10*time.Millisecond, func() { d.SetUp(false) })
		b := make([]byte, 100)
		if _, _, err := c.ReadFrom(b); !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("%v, want ENETDOWN", err)
		}
		d.SetUp(true)
		time.AfterFunc(10*time.Millisecond, func() { d.Deliver(&rxring.Packet{Data: frame("again")}) })
		if n, _, err := c.ReadFrom(b); err != nil || string(b[14:n]) != "again" {
			t.Errorf("%q, %v", b[:n], err)
		}
	})
}

func TestAnOfferThatEnds(t *testing.T) {
	server, client := offer(t, newDevice(t))
	c, err := packetconn.ListenAttached(client, "net0", packetconn.Config{})
	must(t, err)
	time.AfterFunc(10*time.Millisecond, func() { server.Close() })
	for range 3 { // then and always
		if _, _, err := c.ReadFrom(make([]byte, 100)); !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("%v, want ENETDOWN", err)
		}
	}
	must(t, c.Close())
}

func TestErrorsNameWhatIsWrong(t *testing.T) {
	d := newDevice(t)
	_, client := offer(t, d)
	_, err := packetconn.ListenAttached(client, "eth7", packetconn.Config{})
	if !errors.Is(err, syscall.ENODEV) || !strings.Contains(err.Error(), "device eth7: there is no such device: there is net0") {
		t.Errorf("a device that is not there: %v", err)
	}
	if _, err = packetconn.Listen(d, packetconn.Config{Filter: []cbpf.Instruction{{Op: 0xff}}}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a program that Linux refuses: %v", err)
	}
	if d.HasListeners() {
		t.Error("a socket is left")
	}
	c, err := packetconn.Listen(d, packetconn.Config{Datagram: true, Protocol: 0x0800})
	must(t, err)
	for _, bad := range []struct {
		to   net.Addr
		want string
	}{
		{&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 53}, "address 192.0.2.1:53 of type *net.UDPAddr: want a *packetconn.Addr"},
		{&packetconn.Addr{HardwareAddr: make(net.HardwareAddr, 20)}, "of 20 bytes: want at most 8"},
		{nil, "no address: want the receiver's"},
	} {
		if _, err := c.WriteTo([]byte("x"), bad.to); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("to %v: %v, want EINVAL and %q", bad.to, err, bad.want)
		}
	}
}
