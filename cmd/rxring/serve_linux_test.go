package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
)

// activate starts rxring serve as systemd does: with sockets from descriptor 3 on,
// and a socket to which it reports its state.
func activate(t *testing.T, args []string, sockets ...*os.File) (cmd *exec.Cmd, states chan string, log *bytes.Buffer) {
	t.Helper()
	rxring := filepath.Join(sharedDir(t), "rxring")
	notify := filepath.Join(t.TempDir(), "notify")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	states = make(chan string, 100)
	go func() {
		defer close(states)
		b := make([]byte, 4096)
		for {
			n, err := listener.Read(b)
			if err != nil {
				return
			}
			states <- string(b[:n])
		}
	}()
	// The sockets are for the process of one number: its own, which the shell knows.
	script := `export LISTEN_PID=$$; exec "$0" serve "$@"`
	cmd = exec.Command("/bin/sh", append([]string{"-c", script, rxring}, args...)...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify, "LISTEN_FDS="+string(rune('0'+len(sockets))))
	cmd.ExtraFiles = sockets
	log = new(bytes.Buffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, states, log
}

// await returns when systemd has been told what matches.
func await(t *testing.T, states chan string, want string) {
	t.Helper()
	select {
	case got := <-states:
		if !regexp.MustCompile(`^(?:` + want + `)$`).MatchString(got) {
			t.Fatalf("told %q, want %s", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("never told %s", want)
	}
}

func listenAt(t *testing.T, network, path string) *os.File {
	t.Helper()
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	t.Cleanup(func() { f.Close() })
	return f
}

func TestSystemdHandsOverTheSocketAndHearsTheState(t *testing.T) {
	need.Time(t, "it runs units of systemd")
	dir := t.TempDir()
	path, file := filepath.Join(dir, "rx.sock"), filepath.Join(dir, "rxring.toml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("[[source]]\nfrom = \"streams:0\"\n")
	cmd, states, log := activate(t, []string{"--config", file}, listenAt(t, "unixpacket", path))
	await(t, states, "READY=1")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := attach.Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.Namespace().DeviceByName("net0"); !ok {
		t.Error("no net0")
	}
	for _, text := range []string{"x = 1\n", "[[source]]\nfrom = \"streams:0\"\n[log]\nlevel = \"debug\"\n"} {
		write(text)
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		await(t, states, `RELOADING=1\nMONOTONIC_USEC=[0-9]+\n`)
		await(t, states, "READY=1") // also with what was before
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, states, "STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the socket's file is systemd's: %v", err)
	}
	for _, want := range []string{"by_systemd=true", file + `:1: x: unknown key`, "msg=reloaded", "msg=stopping"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("not logged: %s\n%s", want, log)
		}
	}
}

func TestWhatSystemdMustNotHandOver(t *testing.T) {
	need.Time(t, "it starts rxring many times")
	dir := t.TempDir()
	for _, tt := range []struct {
		name, want string
		sockets    []*os.File
	}{
		{"a stream", "systemd passes a socket of network unix: want one, of ListenSequentialPacket=", []*os.File{listenAt(t, "unix", filepath.Join(dir, "a"))}},
		{"two sockets", "systemd passes 2 sockets: want one", []*os.File{listenAt(t, "unixpacket", filepath.Join(dir, "b")), listenAt(t, "unixpacket", filepath.Join(dir, "c"))}},
		{"no socket", "systemd passes a descriptor that is not a listening socket", []*os.File{open(t)}},
	} {
		cmd, _, log := activate(t, []string{"--from", "streams:0"}, tt.sockets...)
		err := cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitFailure || !strings.Contains(log.String(), tt.want) {
			t.Errorf("%s: %v\n%s", tt.name, err, log)
		}
	}
}

func open(t *testing.T) *os.File {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestTheUnitsAreWhatSystemdTakes(t *testing.T) {
	need.Program(t, "systemd-analyze")
	dir := t.TempDir()
	for _, name := range []string{"rxring.service", "rxring.socket"} {
		unit, err := os.ReadFile(filepath.Join("../../dist/systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		unit = bytes.ReplaceAll(unit, []byte("/usr/local/bin/rxring"), []byte(self)) // must be there
		if err := os.WriteFile(filepath.Join(dir, name), unit, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("systemd-analyze", "verify", filepath.Join(dir, "rxring.service"), filepath.Join(dir, "rxring.socket")).CombinedOutput()
	if err != nil || strings.Contains(string(out), dir) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestTheServiceIsConfined: the lower systemd's figure, the less a service can do to the
// machine. 9.6 is one without any setting; the socket families that rxring needs alone
// make 0.7, and the host's network, which it is there for, 0.5.
func TestTheServiceIsConfined(t *testing.T) {
	need.Program(t, "systemd-analyze")
	const most = "15" // tenths
	out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold="+most, "../../dist/systemd/rxring.service").CombinedOutput()
	if err != nil {
		t.Errorf("%v: want an exposure of at most 1.5:\n%s", err, out)
	}
}
