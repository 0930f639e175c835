package dump

import (
	"context"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/source/file/capfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a device, with a capture of it under way.
type scene struct {
	t      *testing.T
	dir    string
	dev    *rxring.Device
	in     *Input
	out    *os.File // standard output
	end    context.CancelFunc
	result chan Result
	err    error
}

// open makes the device, offered at a socket and read there when attached.
func open(t *testing.T, c Config, attached bool) (*scene, *attach.Server) {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), result: make(chan Result, 1)}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	var err error
	if s.dev, err = ns.AddDevice(rxring.DeviceConfig{Name: "net0"}); err != nil {
		t.Fatal(err)
	}
	var server *attach.Server
	if attached {
		path := filepath.Join(s.dir, "sock")
		if server, err = attach.Listen(path, attach.Config{Namespace: ns}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		s.in, err = OpenAttached(t.Context(), path, nil, c.Capture)
	} else {
		s.in, err = OpenDevices(ns, nil, c.Capture)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.out, err = os.Create(filepath.Join(s.dir, "stdout")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.out.Close() })
	return s, server
}

// start begins the capture, and returns when packets are let in.
func start(t *testing.T, c Config, attached bool) (*scene, *attach.Server) {
	t.Helper()
	s, server := open(t, c, attached)
	if c.File != "" && c.File != "-" && c.File[0] != '/' {
		c.File = filepath.Join(s.dir, c.File)
	}
	began := make(chan struct{})
	s.in.Start = func() (<-chan struct{}, error) {
		close(began)
		return nil, nil
	}
	var ctx context.Context
	ctx, s.end = context.WithCancel(t.Context())
	t.Cleanup(s.end)
	go func() {
		defer s.in.Close()
		c.Quiet = true
		r, err := Run(ctx, s.in, c, s.out, os.Stderr)
		s.err = err
		s.result <- r
	}()
	select {
	case <-began:
	case r := <-s.result:
		select {
		case <-began: // and has ended at once
			s.result <- r
		default:
			t.Fatalf("it has not begun: %+v, %v", r, s.err)
		}
	}
	return s, server
}

// wait returns what became of the capture.
func (s *scene) wait() (Result, error) {
	s.t.Helper()
	select {
	case r := <-s.result:
		return r, s.err
	case <-time.After(2 * time.Minute): // only for what hangs
		s.t.Fatal("the capture does not end")
	}
	panic("not reached")
}

func (s *scene) deliver(data []byte, at time.Time) {
	s.dev.Deliver(&rxring.Packet{Data: data, Timestamp: at.UnixNano(), Outgoing: true})
}

// file is a capture file, read by other means than it was written by.
type file struct {
	packets          []capfile.Packet
	received, missed uint64 // of the interface statistics
}

func (s *scene) read(name string) (f file) {
	s.t.Helper()
	f.packets = s.packets(name)
	f.received, f.missed = statistics(s.t, filepath.Join(s.dir, name))
	return f
}

// packets reads all packets of a file.
func (s *scene) packets(name string) []capfile.Packet {
	s.t.Helper()
	all, err := s.tryPackets(name)
	if err != io.EOF {
		s.t.Fatal(err)
	}
	return all
}

// tryPackets reads packets up to an error.
func (s *scene) tryPackets(name string) (all []capfile.Packet, err error) {
	f, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := capfile.NewReader(f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		p, err := r.Next()
		if err != nil {
			return all, err
		}
		p.Data = append([]byte(nil), p.Data...)
		all = append(all, p)
	}
}

// statistics finds the one interface statistics block, which must be the last.
func statistics(t *testing.T, path string) (received, dropped uint64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	const isb = 5
	for len(b) > 0 {
		kind, length := le.Uint32(b), le.Uint32(b[4:])
		if kind == isb {
			if int(length) != len(b) {
				t.Fatalf("%s: %d bytes after the statistics", path, len(b)-int(length))
			}
			for o := b[20:]; ; {
				code, n := le.Uint16(o), le.Uint16(o[2:])
				switch code {
				case 4:
					received = le.Uint64(o[4:])
				case 5:
					dropped = le.Uint64(o[4:])
				case 0:
					return received, dropped
				}
				o = o[4+n:]
			}
		}
		b = b[length:]
	}
	t.Fatalf("%s: no statistics", path)
	return 0, 0
}

func numbered(t testing.TB, n int) []byte {
	return frame(t, ether(0x0800), ip4(layers.IPProtocolUDP), &layers.UDP{SrcPort: layers.UDPPort(n), DstPort: 9}, payload)
}
