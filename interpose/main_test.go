//go:build linux && (amd64 || arm64)

package interpose

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/onecpu"
	"github.com/rxring/rxring/internal/racetest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if what := flag.Lookup("test.parallel"); what.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		// Programs wait most of the time: for packets, signals and the clock.
		what.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0)))
	}
	// Most tests that take time run programs, in which the race detector sees nothing: make test
	// runs those without it. -short=false runs them all.
	if racetest.Enabled && !given("test.short") {
		fmt.Fprintln(os.Stderr, "with -race only short tests run: -short=false runs all")
		flag.Set("test.short", "true")
	}
	if what := os.Getenv("RXRING_TEST_INSTEAD"); what != "" {
		os.Exit(instead(what, os.Args[1:]))
	}
	racetest.NoExitSleep()
	if !racetest.Enabled {
		onecpu.Process()
	}
	code := m.Run()
	if storyDir != "" {
		os.RemoveAll(storyDir)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// given reports whether the command line has a flag.
func given(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

var storyDir string

// story compiles testdata/story.c, once, to a file that every user may execute.
var story = sync.OnceValues(func() (string, error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return "", err
	}
	if storyDir, err = os.MkdirTemp("", "rxring-story-"); err != nil {
		return "", err
	}
	if err := os.Chmod(storyDir, 0o755); err != nil {
		return "", err
	}
	bin := filepath.Join(storyDir, "story")
	out, err := exec.Command(cc, "-O0", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", bin, "testdata/story.c").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return bin, err
})

func needStory(t *testing.T) string {
	t.Helper()
	bin, err := story()
	if err != nil {
		need.Program(t, "cc")
		t.Fatal(err)
	}
	return bin
}

// place says which process has the namespace.
type place string

const (
	here     place = "here"
	attached place = "attached" // another one: the namespace is at the other end of a unix socket
)

// inBothPlaces runs f in both places, in parallel.
func inBothPlaces(t *testing.T, f func(*testing.T, place)) {
	inEachPlace(t, func(t *testing.T, p place) {
		t.Parallel()
		f(t, p)
	})
}

// inEachPlace runs f in one place after the other.
func inEachPlace(t *testing.T, f func(*testing.T, place)) {
	for _, p := range []place{here, attached} {
		t.Run(string(p), func(t *testing.T) { f(t, p) })
	}
}

// world is a namespace with a busy device, a quiet one and one to send on.
type world struct {
	ns          *rxring.Namespace
	at          *attach.Client // nil: here
	server      *attach.Server
	busy, quiet *rxring.Device
	frames      atomic.Pointer[func(seq uint32) []byte]
}

func newWorld(t testing.TB, p place) *world {
	t.Helper()
	w, stop, err := makeWorld(rxring.NamespaceConfig{}, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return w
}

func makeWorld(c rxring.NamespaceConfig, p place) (*world, func(), error) {
	w := &world{ns: rxring.NewNamespace(c)}
	detach := func() {}
	every := 200 * time.Microsecond
	if p == attached {
		every = time.Millisecond // each packet without a ring is some messages: under the race detector, more than one of the above
	}
	var err error
	if w.busy, err = w.ns.AddDevice(rxring.DeviceConfig{Name: "net0"}); err != nil {
		return nil, nil, err
	}
	if w.quiet, err = w.ns.AddDevice(rxring.DeviceConfig{Name: "quiet0"}); err != nil {
		return nil, nil, err
	}
	if _, err = w.ns.AddDevice(rxring.DeviceConfig{Name: "wire0"}); err != nil {
		return nil, nil, err
	}
	if p == attached {
		if detach, err = w.attach(); err != nil {
			return nil, nil, err
		}
	}
	w.show(frame)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for seq := uint32(0); ; seq++ {
			pause := every
			if !w.busy.HasListeners() {
				pause = 5 * time.Millisecond // the stories of other devices run beside others
			}
			select {
			case <-stop:
				return
			case <-time.After(pause):
				w.busy.Deliver(&rxring.Packet{Data: (*w.frames.Load())(seq)})
			}
		}
	}()
	return w, func() {
		close(stop)
		<-stopped
		detach()
	}, nil
}

// attach offers the world at a unix socket, and attaches to it.
func (w *world) attach() (detach func(), err error) {
	dir, err := os.MkdirTemp("", "rxring-attach-")
	if err != nil {
		return nil, err
	}
	remove := func() { os.RemoveAll(dir) }
	w.server, err = attach.Listen(filepath.Join(dir, "s"), attach.Config{
		Namespace: w.ns,
		Grant:     func(attach.Peer) (attach.Grant, error) { return attach.Grant{MaxSockets: 2 * maxSockets}, nil },
	})
	if err != nil {
		remove()
		return nil, err
	}
	if w.at, err = attach.Dial(context.Background(), w.server.Addr()); err != nil {
		w.server.Close()
		remove()
		return nil, err
	}
	return func() {
		w.at.Close()
		w.server.Close()
		remove()
	}, nil
}

// config is the Config of a program in the world.
func (w *world) config(args ...string) Config {
	if w.at != nil {
		return Config{At: w.at, Args: args}
	}
	return Config{Namespace: w.ns, Args: args}
}

// show chooses the packets of the busy device.
func (w *world) show(frames func(seq uint32) []byte) { w.frames.Store(&frames) }

// needle is a UDP packet with a text to find.
func needle(uint32) []byte {
	text := "a needle in a haystack"
	b := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
		0x45, 0, 0, byte(28 + len(text)), 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, // IPv4
		0x13, 0x88, 0x17, 0x70, 0, byte(8 + len(text)), 0, 0} // UDP
	return append(b, text...)
}

// frame is a broadcast packet with its sequence number, which story.c checks.
func frame(seq uint32) []byte {
	b := bytes.Repeat([]byte{byte(seq)}, int(60+seq%1000))
	copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
	binary.BigEndian.PutUint32(b[14:], seq)
	return b
}

// output is a program's standard output and error, and what was logged.
type output struct {
	Result
	err         error
	stdout, log string
}

func (o output) ok(t *testing.T) output {
	t.Helper()
	if o.err != nil || o.ExitCode != 0 {
		t.Fatalf("exit code %d, signal %v, error %v, output:\n%s%s", o.ExitCode, o.Signal, o.err, o.stdout, o.log)
	}
	return o
}

// bound is how long a program may take: it ends those that hang.
const bound = 10 * time.Minute

func run(t *testing.T, cfg Config) output {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	return runContext(t, ctx, cfg, nil)
}

// runContext runs a program; line, if not nil, is called with each line that it writes.
func runContext(t testing.TB, ctx context.Context, cfg Config, line func(string)) output {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var o output
	read := make(chan struct{})
	go func() {
		defer close(read)
		var all strings.Builder
		buf, seen := make([]byte, 4096), 0
		for {
			n, err := r.Read(buf)
			all.Write(buf[:n])
			for line != nil {
				l, _, ok := strings.Cut(all.String()[seen:], "\n")
				if !ok {
					break
				}
				seen += len(l) + 1
				line(l)
			}
			if err != nil {
				break
			}
		}
		o.stdout = all.String()
	}()
	cfg.Stdout, cfg.Stderr = w, w
	var log strings.Builder
	cfg.Logger = testLogger(&log, "")
	res, err := Run(ctx, cfg)
	w.Close()
	<-read
	o.Result, o.err, o.log = res, err, log.String()
	return o
}

// testLogger writes each message on a line of its own, after prefix.
func testLogger(w io.Writer, prefix string) *slog.Logger { return slog.New(&lineHandler{w, prefix}) }

type lineHandler struct {
	w      io.Writer
	prefix string
}

func (*lineHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	_, err := fmt.Fprintf(h.w, "%s%s\n", h.prefix, r.Message)
	return err
}
func (h *lineHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *lineHandler) WithGroup(string) slog.Handler      { return h }

// tell runs a story.
func (w *world) tell(t *testing.T, args ...string) output {
	t.Helper()
	return run(t, w.config(append([]string{needStory(t)}, args...)...))
}
