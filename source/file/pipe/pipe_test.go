package pipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/tpacket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// writer is the program that writes a stream, with the reading end of its pipe.
type writer struct {
	t *testing.T
	r *io.PipeReader
	w *io.PipeWriter
	*capfile.Writer
	ready chan struct{} // closed once the header is read
}

func newWriter(t *testing.T) *writer {
	w := &writer{t: t, ready: make(chan struct{})}
	w.r, w.w = io.Pipe()
	return w
}

// begin writes a header and interfaces, usually in a goroutine: it returns once they are read.
func (w *writer) begin(ins ...capfile.Interface) {
	var err error
	if w.Writer, err = capfile.NewWriter(w.w, capfile.Section{}); err != nil {
		w.t.Error(err)
	}
	for _, in := range ins {
		w.add(in)
	}
	close(w.ready)
}

func (w *writer) add(in capfile.Interface) {
	if _, err := w.AddInterface(in); err != nil {
		w.t.Error(err)
	}
	w.Flush()
}

func (w *writer) packet(id int, data []byte) {
	if err := w.WritePacket(id, 1e9, len(data), data, 0); err != nil {
		w.t.Fatal(err)
	}
	w.Flush()
}

func named(name string) capfile.Interface {
	return capfile.Interface{Name: name, LinkType: capfile.LinkEthernet}
}

// frame n is a frame of a local experimental protocol, unlike all others.
func frame(n int) []byte {
	b := bytes.Repeat([]byte{byte(n)}, 60)
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5})
	return b
}

// scene is a namespace with a socket that reads all devices.
type scene struct {
	ns     *rxring.Namespace
	socket *rxring.Socket
	reader *ring.Reader
	failed []string
}

func newScene(t *testing.T) *scene {
	s := &scene{ns: rxring.NewNamespace(rxring.NamespaceConfig{})}
	s.open(t)
	return s
}

func (s *scene) open(t *testing.T) {
	var err error
	if s.socket, err = s.ns.Socket(rxring.SockRaw, tpacket.ETHPAll); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.socket.Close() })
	req := tpacket.Req{BlockSize: 1 << 16, BlockNr: 4, FrameSize: 2048, FrameNr: 128}
	if err := errors.Join(s.socket.SetVersion(tpacket.V2), s.socket.SetRxRing(req)); err != nil {
		t.Fatal(err)
	}
	if s.reader, err = s.socket.NewReader(); err != nil {
		t.Fatal(err)
	}
}

// read returns what is in the ring: "device: last byte".
func (s *scene) read() (got []string) {
	for {
		f, ok := s.reader.Next()
		if !ok {
			return got
		}
		dev, _ := s.ns.DeviceByIndex(int(f.From.Ifindex))
		got = append(got, dev.Name()+": "+string('0'+rune(f.Data[len(f.Data)-1])))
		f.Release()
	}
}

func (s *scene) config() Config {
	return Config{Namespace: s.ns, Failed: func(err error) { s.failed = append(s.failed, err.Error()) }}
}

// start opens and starts a stream.
func (s *scene) start(t *testing.T, w *writer, c Config) *Source {
	t.Helper()
	stream, err := Open(t.Context(), w.r)
	if err != nil {
		t.Fatal(err)
	}
	src, err := stream.Add(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	<-w.ready
	return src
}

func names(src *Source) (names []string) {
	for _, d := range src.Devices() {
		names = append(names, d.Name())
	}
	return names
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// A packet is delivered when it was written, not when the next one is; an interface has its
// device before its first packet.
func TestPacketsAndInterfacesAppearAsTheyAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newScene(t), newWriter(t)
		go w.begin(named("eth0"), named("eth1"))
		src := s.start(t, w, s.config())
		want(t, "devices", names(src), "eth0", "eth1")
		w.packet(1, frame(1))
		synctest.Wait()
		want(t, "packets", s.read(), "eth1: 1")
		w.add(named("wg0"))
		w.add(capfile.Interface{Name: "usbmon1", LinkType: 220})
		w.add(named("eth0")) // another of that name
		synctest.Wait()
		want(t, "devices", names(src), "eth0", "eth1", "wg0", "net0")
		for i := range 5 {
			w.packet(i, frame(i+2))
		}
		synctest.Wait()
		want(t, "packets", s.read(), "eth0: 2", "eth1: 3", "wg0: 4", "net0: 6")
		if st := src.Stats(); st.Packets != 5 || st.LeftOut != 1 {
			t.Errorf("%+v", st)
		}
		if len(s.failed) != 1 || !strings.HasPrefix(s.failed[0], `interface "usbmon1" has packets of link type USB (220), which no network device`) {
			t.Errorf("%q", s.failed)
		}
		w.w.Close()
		<-src.Done()
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Packets that the writer has lost are in the reader's statistics.
func TestDropsOfTheWriterAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newScene(t), newWriter(t)
		go w.begin(named("eth0"))
		src := s.start(t, w, s.config())
		w.packet(0, frame(1))
		for _, n := range []uint64{5, 5, 3, 9} { // a count that decreases is wrong, and ignored
			if err := w.WriteStats(0, capfile.Stats{Time: 1e9, Dropped: &n, OSDropped: new(uint64)}); err != nil {
				t.Fatal(err)
			}
			w.Flush()
		}
		w.packet(0, frame(2))
		synctest.Wait()
		want(t, "packets", s.read(), "eth0: 1", "eth0: 2")
		if drops := s.socket.Totals().Drops; drops[ring.Lost] != 9 || src.Stats().Lost != 9 {
			t.Errorf("%v lost, %+v; want 9", drops, src.Stats())
		}
	})
}

// Whatever is written, and however it ends, the error says where.
func TestStreamsThatEndEarly(t *testing.T) {
	var file bytes.Buffer
	w, _ := capfile.NewWriter(&file, capfile.Section{})
	w.Flush()
	section := file.Len()
	w.AddInterface(named("eth0"))
	w.Flush()
	header := file.Len()
	w.WritePacket(0, 1e9, 60, frame(1), 0)
	w.Flush()
	whole := file.Len()
	for name, c := range map[string]struct {
		text    string
		open    string // error of Open; "": none
		end     string // error of Close; "": none
		packets uint64
	}{
		"nothing":                     {"", "neither pcap nor pcapng: the stream ended before its first byte: want a program that writes pcap or pcapng, such as tcpdump -U -w -", "", 0},
		"text":                        {"GET / HTTP/1.1\r\n", "neither pcap nor pcapng: begins with bytes 47 45 54 20, the text \"GET / HTTP/1.1\": want a program that writes pcap or pcapng, such as tcpdump -U -w -", "", 0},
		"a header without interfaces": {file.String()[:section], "the stream ended before it described an interface", "", 0},
		"in the middle of the header": {file.String()[:section+2], fmt.Sprintf("after 0 whole packets, at byte %d: it", section) + " ends within a packet", "", 0},
		"no packet":                   {file.String()[:header], "", "", 0},
		"in the middle of a packet":   {file.String()[:whole-10], "", "after 0 whole packets, at byte ", 0},
		"one packet":                  {file.String(), "", "", 1},
		"garbage after a packet":      {file.String() + "garbage!", "", "after 1 whole packets, at byte ", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			stream, err := Open(t.Context(), io.NopCloser(strings.NewReader(c.text)))
			if c.open != "" {
				if err == nil || !strings.HasPrefix(err.Error(), c.open) {
					t.Errorf("%v, want %s", err, c.open)
				}
				return
			}
			if err != nil && c.end != "" && strings.HasPrefix(err.Error(), c.end) { // it ended before its packet
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			src, err := stream.Add(s.config())
			if err != nil {
				t.Fatal(err)
			}
			src.Start()
			<-src.Done()
			err = src.Close()
			if c.end == "" && err != nil || c.end != "" && (err == nil || !strings.HasPrefix(err.Error(), c.end)) {
				t.Errorf("%v, want %s", err, c.end)
			}
			if n := src.Stats().Packets; n != c.packets {
				t.Errorf("%d packets, want %d", n, c.packets)
			}
		})
	}
}

// A writer that stalls, at any byte, does not keep Open or Close from returning.
func TestStalledStreamsCanBeClosed(t *testing.T) {
	var file bytes.Buffer
	w, _ := capfile.NewWriter(&file, capfile.Section{})
	w.AddInterface(named("eth0"))
	w.WritePacket(0, 1e9, 60, frame(1), 0)
	w.Flush()
	for n := range file.Len() + 1 {
		synctest.Test(t, func(t *testing.T) {
			r, wr := io.Pipe()
			go wr.Write(file.Bytes()[:n])
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			stream, err := Open(ctx, r)
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%d bytes: %v", n, err)
				}
				return
			}
			src, err := stream.Add(Config{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{})})
			if err != nil {
				t.Fatal(err)
			}
			src.Start()
			synctest.Wait()
			if err := src.Close(); err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
		})
	}
}

// A writer that describes other interfaces each time that it is connected cannot add devices
// without end.
func TestInterfacesOfAllConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, first, second := newScene(t), newWriter(t), newWriter(t)
		many := func(base string) (ins []capfile.Interface) {
			for n := range capfile.MaxInterfaces - 1 {
				ins = append(ins, named(fmt.Sprintf("%s%d", base, n)))
			}
			return ins
		}
		go first.begin(many("a")...)
		c := s.config()
		opened := false
		c.Reopen = func(ctx context.Context) (io.ReadCloser, error) {
			if opened {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			opened = true
			return second.r, nil
		}
		src := s.start(t, first, c)
		first.w.Close()
		go second.begin(many("b")...)
		<-second.ready
		second.packet(0, frame(1))
		synctest.Wait()
		if n := len(s.ns.Devices()); n != capfile.MaxInterfaces {
			t.Errorf("%d devices, want %d", n, capfile.MaxInterfaces)
		}
		want(t, "failures", s.failed, `interface "b1": the stream has described 1024 interfaces since it was first opened: want no more`)
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A stream that is opened again keeps its devices, and has new ones for new interfaces.
func TestReopenedStreamsKeepTheirDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, first, second := newScene(t), newWriter(t), newWriter(t)
		go first.begin(named("eth0"), named("eth1"))
		c := s.config()
		next := []func() (io.ReadCloser, error){
			func() (io.ReadCloser, error) { return nil, errors.New("not yet") },
			func() (io.ReadCloser, error) { return nil, errors.New("not yet") },
			func() (io.ReadCloser, error) { return second.r, nil },
		}
		c.Reopen = func(ctx context.Context) (io.ReadCloser, error) {
			if len(next) == 0 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			f := next[0]
			next = next[1:]
			return f()
		}
		src := s.start(t, first, c)
		first.packet(0, frame(1))
		first.w.CloseWithError(errors.New("connection reset"))
		go second.begin(named("eth1"), named("wg0"))
		<-second.ready
		synctest.Wait()
		want(t, "devices", names(src), "eth0", "eth1", "wg0")
		second.packet(0, frame(2))
		second.packet(1, frame(3))
		synctest.Wait()
		want(t, "packets", s.read(), "eth0: 1", "eth1: 2", "wg0: 3")
		want(t, "failures", s.failed, "after 1 whole packets, at byte 204: connection reset", "not yet")
		if n := src.Stats().Reopened; n != 1 {
			t.Errorf("reopened %d times", n)
		}
		second.w.Close()
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
}

// With Wait the first packet is held until a reader is there.
func TestWaitForReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := &scene{ns: rxring.NewNamespace(rxring.NamespaceConfig{})}, newWriter(t)
		go w.begin(named("eth0"))
		c := s.config()
		c.Wait = true
		src := s.start(t, w, c)
		w.packet(0, frame(1))
		time.Sleep(time.Minute)
		if src.Begun() || src.Stats().Packets != 0 {
			t.Error("delivers to nothing")
		}
		s.open(t)
		time.Sleep(time.Second)
		want(t, "packets", s.read(), "eth0: 1")
		if st := src.Stats(); !src.Begun() || st.Unseen != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestStreamsThatCannotBeAdded(t *testing.T) {
	open := func(ins ...capfile.Interface) (*Stream, error) {
		w := newWriter(t)
		go func() {
			w.begin(ins...)
			w.w.Close()
		}()
		return Open(t.Context(), w.r)
	}
	if _, err := open(capfile.Interface{LinkType: 220}); err == nil || !strings.HasPrefix(err.Error(), "its interface has packets of link type USB (220), which no network device of Linux has: want one of 0, 1, ") {
		t.Error(err)
	}
	s, err := open(named("a"), named("b"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	for c, want := range map[*Config]string{
		{}:                           "no Namespace: want the one to add devices to",
		{Namespace: ns, Readers: -1}: "begin after 0s, with -1 readers: want no negative values",
		{Namespace: ns, Name: "x"}:   "the stream has packets of 2 interfaces: want it without a name and an address",
	} {
		if _, err := s.Add(*c); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if n := len(ns.Devices()); n != 0 {
		t.Errorf("%d devices are left", n)
	}
	first, err := s.Add(Config{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Add(Config{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{})}) // a trial
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if err := first.Start(); err != nil {
		t.Error(err)
	}
	if err := other.Start(); err == nil || !strings.Contains(err.Error(), "open the stream again") {
		t.Error(err)
	}
}

// Whatever bytes a peer sends, in whatever pieces: the source ends, and every packet that was
// read is delivered or counted.
func FuzzStream(f *testing.F) {
	var file bytes.Buffer
	w, _ := capfile.NewWriter(&file, capfile.Section{})
	w.AddInterface(named("eth0"))
	w.WritePacket(0, 1e9, 60, frame(1), 0)
	w.AddInterface(capfile.Interface{Name: "usb", LinkType: 220})
	w.WritePacket(1, 1e9, 60, frame(1), 0)
	w.WriteStats(0, capfile.Stats{Dropped: new(uint64)})
	w.AddInterface(capfile.Interface{Name: "bad/name", LinkType: 147})
	w.WritePacket(2, 1e9, 60, frame(1), 0)
	w.Flush()
	f.Add(file.Bytes(), uint16(100))
	f.Add(file.Bytes()[:file.Len()-3], uint16(1))
	f.Fuzz(func(t *testing.T, stream []byte, at uint16) {
		r, err := capfile.NewReader(bytes.NewReader(stream))
		read := uint64(0)
		if err == nil {
			for _, err = r.Next(); err == nil; _, err = r.Next() {
				read++
			}
			r.Close()
		}
		cut := min(int(at), len(stream))
		s, err := Open(t.Context(), io.NopCloser(io.MultiReader(bytes.NewReader(stream[:cut]), bytes.NewReader(stream[cut:]))))
		if err != nil {
			return
		}
		src, err := s.Add(Config{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{})})
		if err != nil {
			t.Fatal(err)
		}
		src.Start()
		<-src.Done()
		ended := src.Close()
		// An interface for which there can be no device ends the stream with an error.
		if st := src.Stats(); st.Packets+st.LeftOut > read || ended == nil && st.Packets+st.LeftOut != read {
			t.Errorf("%d packets, %+v, %v", read, st, ended)
		}
	})
}

// slow is an input whose Close takes long, as that of a command that ignores SIGTERM.
type slow struct {
	io.ReadCloser
	closing sync.Once
	begun   chan struct{}
	end     chan struct{}
}

func (s *slow) Close() error {
	s.closing.Do(func() { close(s.begun) })
	<-s.end
	return s.ReadCloser.Close()
}

// While a stream that is slow to close is closed, its devices can be listed.
func TestDevicesWhileTheInputIsClosed(t *testing.T) {
	w := newWriter(t)
	go w.begin(named("eth0"))
	in := &slow{ReadCloser: w.r, begun: make(chan struct{}), end: make(chan struct{})}
	s, err := Open(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	src, err := s.Add(Config{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{})})
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Start(); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- src.Close() }()
	<-in.begun
	listed := make(chan int)
	go func() { listed <- len(src.Devices()) }()
	select {
	case n := <-listed:
		if n != 1 {
			t.Errorf("%d devices", n)
		}
	case <-time.After(time.Minute):
		t.Error("Devices waits")
	}
	close(in.end)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
