package top

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/netstack/streams"
	"github.com/rxring/rxring/tpacket"
)

func TestMain(m *testing.M) {
	os.Setenv("TZ", "UTC") // the golden files have times of day
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// offer serves a device at path, until the test ends or stop is called.
func offer(t *testing.T, path string) (dev *rxring.Device, stop func()) {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	must(t, err)
	srv, err := attach.Listen(path, attach.Config{Namespace: ns, Describe: func(*rxring.Device) attach.Description {
		return attach.Description{Source: "streams:1", Counters: map[string]uint64{"kernel_drops": 5}}
	}})
	must(t, err)
	t.Cleanup(func() { srv.Close() })
	return dev, func() { srv.Close() }
}

// read makes this process a reader at path that takes nothing out of its ring.
func read(t *testing.T, path string, slots uint32) {
	t.Helper()
	c, err := attach.Dial(t.Context(), path)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	s, err := c.Socket(rxring.SockRaw, 0)
	must(t, err)
	must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptVersion, binary.NativeEndian.AppendUint32(nil, uint32(tpacket.V2))))
	req := tpacket.Req{BlockSize: uint32(os.Getpagesize()), BlockNr: slots, FrameSize: uint32(os.Getpagesize()), FrameNr: slots}
	must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&req)))
	must(t, s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: 0, Protocol: tpacket.Htons(tpacket.ETHPAll)}))
}

func TestReportsOfARealServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dev, _ := offer(t, path)
	read(t, path, 8)
	feed, err := streams.Start(dev, streams.Config{Flows: 1})
	must(t, err)
	defer feed.Close()

	c := Config{Path: path, Interval: 100 * time.Millisecond}
	// Until packets flow: each report must be right before that, too.
	for range 100 {
		var out bytes.Buffer
		must(t, Print(t.Context(), c, &out, 2, JSON))
		d := json.NewDecoder(&out)
		var first, second Report
		must(t, d.Decode(&first))
		must(t, d.Decode(&second))
		if err := d.Decode(new(Report)); err != io.EOF {
			t.Fatalf("more than two: %v", err)
		}
		if len(second.Devices) != 1 || second.Devices[0].Source != "streams:1" || second.Devices[0].Rates["kernel_drops"] != 0 || len(second.Sockets) != 1 {
			t.Fatalf("%+v", second)
		}
		a, b := first.Sockets[0], second.Sockets[0]
		if b.Offered != b.Filtered+b.SocketStatus.Captured+b.SocketStatus.Dropped.Sum() || b.Offered < a.Offered {
			t.Fatalf("counts do not add up: %+v after %+v", b.SocketStatus, a.SocketStatus)
		}
		if b.Peer.PID != os.Getpid() || b.Program != comm("/proc/self") || b.User == "" && os.Getuid() == 0 {
			t.Fatalf("it is pid %d, %q of %q", b.Peer.PID, b.Program, b.User)
		}
		if want := float64(b.Offered-a.Offered) / second.Interval; second.Interval <= 0 || b.Rates == nil || b.Rates.Offered != want {
			t.Fatalf("%v seconds, rates %+v: want %v", second.Interval, b.Rates, want)
		}
		if b.SocketStatus.Captured == 8 && b.Rates.Dropped[ring.Full] > 0 {
			if b.Ring == nil || b.Ring.States != "RRRRRRRR" {
				t.Errorf("a ring that nobody reads is %+v", b.Ring)
			}
			out.Reset()
			must(t, Print(t.Context(), c, &out, 1, Text(path, 80, ByDrops)))
			for _, want := range []string{"net0", "streams:1", "kernel drops 5 (0/s)", "100% held slow |RRRRRRRR", "8 slots of", "dropped: ring full"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
			return
		}
	}
	t.Fatal("no packets came")
}

func TestPrintEndsWithItsContextAndWithItsServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	_, stop := offer(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := Print(ctx, Config{Path: path, Interval: time.Millisecond}, io.Discard, Endless, func(io.Writer, *Report, int) error {
		if n++; n == 3 {
			cancel()
		}
		return nil
	})
	if err != nil || n != 3 {
		t.Errorf("canceled in report 3 it ended after %d with %v", n, err)
	}
	err = Print(t.Context(), Config{Path: path, Interval: time.Millisecond}, io.Discard, Endless, func(io.Writer, *Report, int) error { stop(); return nil })
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("the server has gone: %v", err)
	}
	err = Print(t.Context(), Config{Path: path}, io.Discard, 1, JSON)
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("there is no server: %v", err)
	}
	full := errors.New("no space")
	offer(t, path)
	err = Print(t.Context(), Config{Path: path, Interval: time.Millisecond}, io.Discard, Endless, func(io.Writer, *Report, int) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("a report that cannot be written: %v", err)
	}
}

func TestLiveWaitsForAServerThatHasGone(t *testing.T) {
	need.Time(t, "it waits for a server")
	path := filepath.Join(t.TempDir(), "s")
	_, stop := offer(t, path)
	read(t, path, 4)
	var seen []string
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := live(ctx, Config{Path: path, Interval: 5 * time.Millisecond}, tea.WithInput(nil), tea.WithOutput(io.Discard), tea.WithoutSignals(),
		tea.WithFilter(func(m tea.Model, msg tea.Msg) tea.Msg { // called in turn
			switch msg := msg.(type) {
			case reportMsg:
				switch {
				case len(seen) == 0:
					seen = append(seen, fmt.Sprintf("%d readers", len(msg.report.Sockets)))
					stop()
				case len(seen) == 2:
					seen = append(seen, fmt.Sprintf("%d readers", len(msg.report.Sockets)))
					return tea.Quit()
				}
			case lostMsg:
				if len(seen) == 1 {
					seen = append(seen, "lost")
					offer(t, path)
				}
			}
			return msg
		}))
	must(t, err)
	if got := strings.Join(seen, ", "); got != "1 readers, lost, 0 readers" {
		t.Error(got)
	}
}

func TestLiveFailsWithoutAServer(t *testing.T) {
	err := live(t.Context(), Config{Path: filepath.Join(t.TempDir(), "s")}, tea.WithInput(nil), tea.WithOutput(io.Discard))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "rxring serve --at") {
		t.Error(err)
	}
}

// terminal is a pseudo-terminal: what its user types and sees, and its other side.
func terminal(t *testing.T) (user, tty *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { user.Close() })
	must(t, unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	must(t, err)
	must(t, unix.IoctlSetWinsize(int(user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}))
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { tty.Close() })
	return user, tty
}

// awaitText reads what appears on a terminal until all of text has.
func awaitText(t *testing.T, user io.Reader, text ...string) {
	t.Helper()
	var all []byte
	b := make([]byte, 4096)
	for _, want := range text {
		for !bytes.Contains(all, []byte(want)) {
			n, err := user.Read(b)
			if err != nil {
				t.Errorf("no %q in %q: %v", want, all, err)
				return
			}
			all = append(all, b[:n]...)
		}
	}
}

func TestLiveOnATerminal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	offer(t, path)
	read(t, path, 4)
	for _, c := range []struct {
		term string
		end  func(user io.Writer, cancel func())
	}{
		{"xterm-256color", func(user io.Writer, _ func()) { io.WriteString(user, "q") }},
		{"xterm-256color", func(_ io.Writer, cancel func()) { cancel() }},
		{"dumb", func(_ io.Writer, cancel func()) { cancel() }}, // one frame below the other
	} {
		t.Setenv("TERM", c.term)
		user, tty := terminal(t)
		before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		ended := make(chan error)
		go func() {
			err := Live(ctx, Config{Path: path, Interval: 20 * time.Millisecond}, tty, tty)
			tty.Close() // lets awaitText end
			ended <- err
		}()
		awaitText(t, user, "READER", "net0", "0% held", "being filled")
		c.end(user, cancel)
		go io.Copy(io.Discard, user) // it says goodbye to the terminal
		if err := <-ended; err != nil {
			t.Errorf("TERM=%s: %v", c.term, err)
		}
		cancel()
		after, err := unix.IoctlGetTermios(int(user.Fd()), unix.TCGETS)
		if err != nil || *after != *before {
			t.Errorf("TERM=%s: the terminal is %+v, was %+v (%v)", c.term, after, before, err)
		}
		user.Close()
	}
}

func TestLiveNeedsATerminal(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	must(t, err)
	defer file.Close()
	_, tty := terminal(t)
	for name, c := range map[string]struct{ in, out *os.File }{"output": {tty, file}, "input": {file, tty}} {
		err := Live(t.Context(), Config{Path: "/nowhere"}, c.in, c.out)
		if !errors.Is(err, ErrNoTerminal) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "--once") {
			t.Errorf("%s is a file: %v", name, err)
		}
	}
	if Width(file) != 0 || Width(tty) != 100 {
		t.Errorf("a file has %d columns, a terminal of 100 %d", Width(file), Width(tty))
	}
}

func TestProgramOfAPeer(t *testing.T) {
	self := attach.Peer{PID: os.Getpid(), UID: uint32(os.Getuid())}
	if got, want := program(self), comm("/proc/self"); got != want || got == "" {
		t.Errorf("this one is %q, want %q", got, want)
	}
	stranger := self
	stranger.UID++
	if got := program(stranger); got != "" && os.Getuid() != 0 {
		t.Errorf("another user's process of that number is %q", got)
	}
	if got := program(attach.Peer{PID: 1 << 30}); got != "" {
		t.Errorf("nobody is %q", got)
	}

	// What attaches for another program.
	dir := t.TempDir()
	script := filepath.Join(dir, runner)
	must(t, os.WriteFile(script, []byte("#!/bin/sh\n"+filepath.Join(dir, link)+" & wait\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, link), []byte("#!/bin/sh\nsleep 60 & echo; wait\n"), 0o755))
	cmd := exec.Command(script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	started, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it and its child
		cmd.Wait()
	}()
	if _, err := started.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	peer := attach.Peer{PID: cmd.Process.Pid, UID: uint32(os.Getuid())}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d/children", peer.PID, peer.PID)); err != nil {
		need.Skip(t, need.Kernel, "no /proc/PID/task/TID/children: %v", err)
	}
	got := program(peer)
	for range 1000 { // the child is the shell's copy until it has become sleep
		if got == "sleep" {
			return
		}
		time.Sleep(time.Millisecond)
		got = program(peer)
	}
	t.Errorf("a program that rxring runs is %q, want sleep", got)
}
