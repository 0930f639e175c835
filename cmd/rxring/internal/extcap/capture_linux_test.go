package extcap

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/capfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var packet = append([]byte{0x45}, make([]byte, 1400)...) // IPv4

// session is a device that is offered, and the FIFOs that Wireshark makes for a capture.
type session struct {
	dev    *rxring.Device
	config Config
	result chan error
}

func newSession(t *testing.T) *session {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := attach.Listen(path("vpn.sock"), attach.Config{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	for _, name := range []string{"fifo", "in", "out"} {
		if err := syscall.Mkfifo(path(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &session{dev, Config{
		Interface: "rxring:vpn:wg0", Others: []string{path("vpn.sock")}, FIFO: path("fifo"),
		ControlIn: path("in"), ControlOut: path("out"), BufferKiB: "1",
	}, make(chan error, 1)}
}

// start runs the capture.
func (s *session) start(ctx context.Context) {
	go func() { s.result <- Run(ctx, s.config, os.Stderr) }()
}

// wait returns the capture's error.
func (s *session) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.result:
		return err
	case <-time.After(2 * time.Minute): // only if it hangs
		t.Fatal("the capture does not end")
	}
	panic("not reached")
}

// openPipe opens a FIFO as Wireshark does: it waits for the other end.
func openPipe(t *testing.T, path string, flag int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// awaitStart returns when the capture accepts packets: the file's header is flushed after that.
func awaitStart(t *testing.T, packets *bufio.Reader) {
	t.Helper()
	if _, err := packets.Peek(1); err != nil {
		t.Fatal(err)
	}
}

// message is a message on a control pipe.
type message struct {
	control, command byte
	payload          string
}

func readMessage(t *testing.T, r io.Reader) message {
	t.Helper()
	var header [6]byte
	if _, err := io.ReadFull(r, header[:]); err != nil || header[0] != 'T' {
		t.Fatalf("header % x: %v", header, err)
	}
	payload := make([]byte, binary.BigEndian.Uint32(header[:4])&0xffffff-2)
	if _, err := io.ReadFull(r, payload); err != nil {
		t.Fatal(err)
	}
	return message{header[4], header[5], string(payload)}
}

// TestToolbarShowsDrops plays Wireshark, which reads no packets for a while.
func TestToolbarShowsDrops(t *testing.T) {
	need.Time(t, "it captures for a while")
	s := newSession(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.start(ctx)
	in := openPipe(t, s.config.ControlIn, os.O_WRONLY)
	// A value that the user has typed, and the message that the toolbar is open.
	if _, err := in.WriteString("T\x00\x00\x05\x00\x01abc" + "T\x00\x00\x02\x00\x00"); err != nil {
		t.Fatal(err)
	}
	packets := bufio.NewReader(openPipe(t, s.config.FIFO, os.O_RDONLY))
	out := bufio.NewReader(openPipe(t, s.config.ControlOut, os.O_RDONLY))
	if m := readMessage(t, out); m.control != controlLog || m.command != commandAdd || !strings.Contains(m.payload, "listening on wg0 at ") {
		t.Fatalf("%+v", m)
	}
	if m := readMessage(t, out); m != (message{controlDropped, commandSet, "0"}) {
		t.Fatalf("%+v", m)
	}
	awaitStart(t, packets)
	const n = 5000
	for range n {
		s.dev.Deliver(&rxring.Packet{Data: packet})
	}
	var log, last string
	for last == "" || log == "" {
		switch m := readMessage(t, out); {
		case m.control == controlLog:
			log = m.payload
		case m.command == commandSet:
			last = m.payload
		}
	}
	if !strings.HasSuffix(last, " ring full") || !strings.Contains(log, " dropped ") {
		t.Errorf("toolbar %q, log %q", last, log)
	}
	// The rest is read, and Wireshark ends the capture.
	read := make(chan int)
	go func() {
		r, err := capfile.NewReader(packets)
		if err != nil {
			t.Error(err)
		}
		n := 0
		for {
			if _, err := r.Next(); err != nil {
				break
			}
			n++
		}
		r.Close()
		read <- n
	}()
	cancel()
	if err := s.wait(t); err != nil {
		t.Fatal(err)
	}
	got := <-read
	for { // to the end of what the toolbar is sent
		if _, err := out.Peek(1); err != nil {
			break
		}
		switch m := readMessage(t, out); {
		case m.control == controlLog:
			log = m.payload
		case m.command == commandSet:
			last = m.payload
		}
	}
	if want := fmt.Sprintf("%d of %d: ring full", n-got, n); last != want || !strings.HasSuffix(log, "end: dropped "+want+"\n") {
		t.Errorf("%d of %d packets read; the toolbar shows %q, the log ends with %q, want %q", got, n, last, log, want)
	}
}

// TestEndsWithItsReader closes the FIFO when no packet arrives.
func TestEndsWithItsReader(t *testing.T) {
	s := newSession(t)
	s.config.ControlIn, s.config.ControlOut = "", ""
	s.start(t.Context())
	packets := openPipe(t, s.config.FIFO, os.O_RDONLY)
	awaitStart(t, bufio.NewReader(packets))
	packets.Close()
	if err := s.wait(t); err != nil {
		t.Fatal(err)
	}
}

// TestEndsWithoutAReader interrupts a capture whose FIFO no program opens, and one whose
// reader does not read.
func TestEndsWithoutAReader(t *testing.T) {
	need.Time(t, "it waits for a silent reader")
	for _, opened := range []bool{false, true} {
		s := newSession(t)
		s.config.ControlIn, s.config.ControlOut = "", ""
		ctx, cancel := context.WithCancel(t.Context())
		s.start(ctx)
		if opened {
			awaitStart(t, bufio.NewReader(openPipe(t, s.config.FIFO, os.O_RDONLY)))
			for range 1000 {
				s.dev.Deliver(&rxring.Packet{Data: packet})
			}
		}
		cancel()
		err := s.wait(t)
		if !opened && err != nil || opened && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("opened=%v: %v", opened, err)
		}
	}
}

// TestWiresharkDoesNotWaitForACaptureThatFails opens the pipes as Wireshark and dumpcap do, which
// wait for ever if no program opens the other ends.
func TestWiresharkDoesNotWaitForACaptureThatFails(t *testing.T) {
	s := newSession(t)
	s.config.Interface = "rxring:vpn:wg1"
	s.start(t.Context())
	packets := openPipe(t, s.config.FIFO, os.O_RDONLY)
	if b, err := io.ReadAll(packets); len(b) > 0 || err != nil {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	in := openPipe(t, s.config.ControlIn, os.O_WRONLY)
	if _, err := in.WriteString("T\x00\x00\x02\x00\x00"); err != nil {
		t.Fatal(err)
	}
	if err := s.wait(t); err == nil || !strings.Contains(err.Error(), "device wg1: there is no such device") {
		t.Fatal(err)
	}
}
