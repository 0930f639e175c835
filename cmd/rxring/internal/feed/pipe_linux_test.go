package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/source/file/stream"
)

// inspectOne parses and inspects a spec.
func inspectOne(ctx context.Context, t *testing.T, text string) (Inspected, error) {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	found, err := Inspect(ctx, []Spec{s})
	if err != nil {
		return Inspected{}, err
	}
	return found[0], nil
}

// header is a pcap file without packets.
const header = `\324\303\262\241\002\000\004\000\000\000\000\000\000\000\000\000\000\000\004\000\001\000\000\000`

// A command ends, with all that it has started, when its device is removed, when its source was
// never started, and when it writes no capture. Package reaper tests what it can start.
func TestACommandEndsWithItsDevice(t *testing.T) {
	need.Time(t, "it waits for commands that ignore signals")
	for name, c := range map[string]struct {
		script string
		start  bool
		open   bool
	}{
		"while it runs": {"printf '%s'; sleep 1000 | sleep 1000", true, true},
		"left behind":   {"(setsid sleep 1000 &); printf '%s'; sleep 1000", true, true},
		"never started": {"printf '%s'; sleep 1000", false, true},
		"never opened":  {"printf '%s'; sleep 1000", false, false},
		"not a capture": {"echo hello; exec sleep 1000; : %s", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() { // all its processes have the FIFO open
				_, err := os.ReadFile(fifo)
				ended <- err
			}()
			script := fmt.Sprintf("exec 9>%s; "+c.script, fifo, header)
			i, err := inspectOne(t.Context(), t, "exec:"+strings.ReplaceAll(script, ",", ",,"))
			switch {
			case err != nil && name != "not a capture":
				t.Fatal(err)
			case err != nil:
			case !c.open:
				i.Close()
			default:
				f, err := i.Open(Config{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{})})
				if err != nil {
					t.Fatal(err)
				}
				if c.start {
					if err := f.Start(); err != nil {
						t.Fatal(err)
					}
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// What a command writes to standard error is passed on, line by line.
func TestStandardErrorOfACommand(t *testing.T) {
	defer func(f func(string, string)) { commandErrors = f }(commandErrors)
	var mu sync.Mutex
	var got []string
	all := make(chan bool)
	SetCommandErrors(func(command, line string) {
		mu.Lock()
		defer mu.Unlock()
		if got = append(got, line); len(got) == 3 {
			close(all)
		}
	})
	_, err := inspectOne(t.Context(), t, "exec:echo one >&2; printf 'two\nthree' >&2; exit 5")
	if err == nil || !strings.HasSuffix(err.Error(), ": the command failed: exit status 5") {
		t.Error(err)
	}
	<-all
	if strings.Join(got, " ") != "one two three" {
		t.Errorf("%q", got)
	}
}

// A FIFO is waited for, and the wait ends with the context.
func TestAFIFOWithoutAWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := inspectOne(ctx, t, "pcap:"+path); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	r, err := openFIFO(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		time.Sleep(20 * time.Millisecond) // Read waits, perhaps
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			w.WriteString("one")
			time.Sleep(20 * time.Millisecond)
			w.WriteString("two")
			w.Close()
		}
	}()
	if b, err := io.ReadAll(r); err != nil || string(b) != "onetwo" {
		t.Errorf("%q, %v", b, err)
	}
}

// A server of package stream gets the options of the source.
func TestOptionsForAServer(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	for _, name := range []string{"eth0", "wg0"} {
		if _, err := ns.AddDevice(rxring.DeviceConfig{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	srv, err := stream.Serve(l, ns, stream.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	at := "pcap:unix:" + l.Addr().String()
	for options, want := range map[string]string{
		"":                               "eth0, wg0",
		",device=wg0,snaplen=96":         "wg0",
		",device=wg1":                    `: the server refuses: device "wg1": there is no such device: `,
		",device=wg0,filter=tcp port 80": `: the server refuses: filter "tcp port 80": this server compiles no filters`,
	} {
		i, err := inspectOne(t.Context(), t, at+options)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", options, err, want)
			}
			continue
		}
		f, err := i.Open(Config{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{})})
		if err != nil {
			t.Fatal(err)
		}
		if f.Names() != want {
			t.Errorf("%s: devices %s, want %s", options, f.Names(), want)
		}
		f.Close()
	}
	if _, err := Parse(at + ",snaplen=0"); err == nil || !strings.Contains(err.Error(), "snaplen=0: want a number from 1 to 262144") {
		t.Error(err)
	}
}
