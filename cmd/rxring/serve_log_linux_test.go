package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	packets "github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// logged is `rxring serve` with a log that may be trouble, and a client.
type logged struct {
	*testing.T
	path    string
	cmd     *exec.Cmd
	metrics *http.Client
	client  *attach.Client
}

func serveInto(t *testing.T, log *os.File) *logged {
	t.Helper()
	dir := t.TempDir()
	path, metrics, config := filepath.Join(dir, "rx.sock"), filepath.Join(dir, "m.sock"), filepath.Join(dir, "rxring.toml")
	file := fmt.Sprintf("at = %q\n[[source]]\nfrom = \"streams:1\"\n[metrics]\nlisten = \"unix:%s\"\n", path, metrics)
	if err := os.WriteFile(config, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &logged{T: t, path: path, cmd: exec.Command(filepath.Join(sharedDir(t), "rxring"), "serve", "--config", config)}
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill() })
	s.metrics = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", metrics)
	}}}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		var err error
		if s.client, err = attach.Dial(t.Context(), path); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { s.client.Close() })
	return s
}

// works has packets flow to a new process, which takes attaching, too.
func (s *logged) works() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	c, err := attach.Dial(ctx, s.path)
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close()
	h, err := packets.OpenAttached(c, "net0", packets.Config{})
	if err != nil {
		s.Fatal(err)
	}
	defer h.Close()
	left := 1000
	for _, err := range h.Packets(ctx) {
		if err != nil {
			s.Fatal(err)
		}
		if left--; left == 0 {
			return
		}
	}
}

// chatter makes two lines of the log.
func (s *logged) chatter() {
	s.Helper()
	k, err := s.client.Socket(rxring.SockRaw, tpacket.ETHPAll)
	if err != nil {
		s.Fatal(err)
	}
	defer k.Close()
	dev, _ := s.client.Namespace().DeviceByName("net0")
	if err := k.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(dev.Index())}); err != nil {
		s.Fatal(err)
	}
}

// chatterUntilLost makes lines until some are lost.
func (s *logged) chatterUntilLost() {
	s.Helper()
	for deadline := time.Now().Add(10 * time.Minute); s.lost() == 0; {
		if time.Now().After(deadline) {
			s.Fatal("no line is lost")
		}
		for range 100 {
			s.chatter()
		}
	}
}

// lost is how many lines the daemon has counted as lost.
func (s *logged) lost() int {
	s.Helper()
	resp, err := s.metrics.Get("http://localhost/metrics")
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "rxring_log_dropped_lines_total "); ok {
			n, err := strconv.Atoi(text)
			if err != nil {
				s.Fatal(err)
			}
			return n
		}
	}
	s.Fatal("no rxring_log_dropped_lines_total among the metrics")
	return 0
}

// ends has SIGTERM end the daemon.
func (s *logged) ends() {
	s.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		s.Errorf("it ended with %v", err)
	}
}

// saidLost adds up the lost lines that a log reports.
func saidLost(t *testing.T, log []byte) (n int) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^time=\S+ level=WARN msg="lines of the log were lost: [^"]*" lines=([0-9]+)$`).FindAllSubmatch(log, -1) {
		v, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		n += v
	}
	return n
}

func logPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	return r, w
}

func TestALogWhoseReaderHasEnded(t *testing.T) {
	need.Time(t, "it builds rxring")
	r, w := logPipe(t)
	s := serveInto(t, w)
	w.Close()
	r.Close()
	s.chatterUntilLost()
	s.works()
	s.ends()
}

func TestALogWhoseReaderHasStopped(t *testing.T) {
	need.Time(t, "it fills a pipe")
	_, w := logPipe(t) // which nobody reads
	s := serveInto(t, w)
	s.chatterUntilLost()
	s.works()
	s.ends()
}

func TestALogWhoseReaderStopsForAWhile(t *testing.T) {
	need.Time(t, "it starts rxring many times")
	r, w := logPipe(t)
	s := serveInto(t, w)
	w.Close()
	s.chatterUntilLost()
	var log bytes.Buffer
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(&log, r)
		read <- err
	}()
	s.works()
	lost := s.lost()
	s.ends()
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if n := saidLost(t, log.Bytes()); n != lost {
		t.Errorf("the log says that %d lines were lost, the metrics %d", n, lost)
	}
	if !bytes.Contains(log.Bytes(), []byte("msg=stopping\n")) {
		t.Error("its end is missing")
	}
}

func TestALogOnAFullDisk(t *testing.T) {
	need.Time(t, "it builds rxring")
	need.Root(t, "mount a file system")
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=16k"); err != nil {
		need.Skip(t, need.System, "mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s := serveInto(t, log)
	s.chatterUntilLost()
	s.works()
	lost := s.lost()
	for last := -1; lost != last; lost = s.lost() { // until all lines have been tried
		last = lost
		time.Sleep(200 * time.Millisecond)
	}
	if err := log.Truncate(0); err != nil { // there is room again
		t.Fatal(err)
	}
	s.chatter()
	s.ends()
	text, err := os.ReadFile(log.Name())
	if err != nil {
		t.Fatal(err)
	}
	if n := saidLost(t, text); n != lost {
		t.Errorf("the log says that %d lines were lost, the metrics %d:\n%s", n, lost, text)
	}
	if !bytes.Contains(text, []byte("msg=stopping\n")) {
		t.Errorf("its end is missing:\n%s", text)
	}
}
