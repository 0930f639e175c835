package attach_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
)

// floodEnv makes the test's program connect to the socket that it names and close, in a
// loop, until its standard input is closed.
const floodEnv = "RXRING_TEST_FLOOD"

func flood(path string) {
	go func() {
		os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	to := &unix.SockaddrUnix{Name: path}
	for first := true; ; first = false {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, to)
			unix.Close(fd)
		}
		if first {
			os.Stdout.WriteString("connected\n")
			if err != nil {
				panic(err)
			}
		}
	}
}

// runAs runs the test's program as user uid, with env, until the test ends, and returns its
// standard output.
func runAs(t *testing.T, uid uint32, env string) io.Reader {
	t.Helper()
	need.Root(t, "be several users")
	cmd := exec.Command("/proc/self/exe") // which every user may execute, unlike its path
	cmd.Env = append(os.Environ(), env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return stdout
}

// startFlood has a process of user uid flood the socket, until the test ends.
func startFlood(t *testing.T, path string, uid uint32) {
	t.Helper()
	_, err := runAs(t, uid, floodEnv+"="+path).Read(make([]byte, 1))
	must(t, err)
}

// openDir is a directory that every user can find files in.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rxring-test")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// Users who connect and close in a loop, one of whom is refused, do not block others, and do
// not fill the log.
func TestConnectionFloodDoesNotBlockOthers(t *testing.T) {
	need.Time(t, "it floods")
	const refused, admitted = 65532, 65533
	var counts, events [2]atomic.Uint64 // refused, and admitted but too often
	var attached atomic.Uint64
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	path := filepath.Join(openDir(t), "s")
	begin := time.Now()
	srv, err := attach.Listen(path, attach.Config{
		Namespace:   ns,
		SocketPerms: func(file string) error { return os.Chmod(file, 0o666) },
		Grant: func(p attach.Peer) (attach.Grant, error) {
			if p.UID == refused {
				return attach.Grant{}, syscall.EACCES
			}
			return attach.Grant{}, nil
		},
		Notify: func(e attach.Event) {
			switch {
			case e.Kind == attach.PeerRefused && (e.Peer.UID == refused || e.Peer.UID == admitted):
				counts[e.Peer.UID-refused].Add(e.Count)
				events[e.Peer.UID-refused].Add(1)
			case e.Kind == attach.PeerAttached || e.Kind == attach.PeerRefused:
				attached.Add(1)
			}
		},
	})
	must(t, err)
	defer srv.Close()
	startFlood(t, path, refused)
	startFlood(t, path, admitted)
	const attaches = 35
	var wg sync.WaitGroup
	for range attaches {
		wg.Go(func() {
			c, err := attach.Dial(t.Context(), path)
			if err != nil {
				t.Errorf("another user: %v", err)
				return
			}
			c.Close()
		})
	}
	wg.Wait()
	eventually(t, "most connections are refused", func() bool {
		return counts[0].Load() > 2*attach.ConnectBurst && counts[1].Load() > attach.ConnectBurst
	})
	must(t, srv.Close())
	seconds := uint64(time.Since(begin)/time.Second) + 1
	for i, name := range []string{"the refused user", "the admitted user"} {
		if n := events[i].Load(); n > seconds+1 {
			t.Errorf("%s: %d events in %d seconds", name, n, seconds)
		}
	}
	if n := attached.Load(); n != attaches {
		t.Errorf("%d processes attached, of other users %d", n, attaches)
	}
	t.Logf("%d s: refused %d connections in %d events, and %d in %d of the user that is admitted",
		seconds, counts[0].Load(), events[0].Load(), counts[1].Load(), events[1].Load())
}

// A client whose hello crosses its refusal learns the reason, whichever is first.
func TestARefusalIsReadBeforeAndAfterHello(t *testing.T) {
	o := listen(t, attach.Config{Grant: func(attach.Peer) (attach.Grant, error) {
		return attach.Grant{}, errors.New("not today")
	}})
	for range 100 {
		if _, err := attach.Dial(t.Context(), o.Addr()); err == nil || !strings.HasSuffix(err.Error(), ": not today") {
			t.Fatal(err)
		}
	}
	c := raw(t, o.Addr())
	if errno, rest, _, err := answer(t, c); err != nil || errno != uint32(syscall.EIO) || string(rest) != "not today" {
		t.Errorf("before hello: %d %q, %v", errno, rest, err)
	}
}

// A user who connects too often is told so, and may try again.
func TestConnectRateRefusalGivesReason(t *testing.T) {
	o := listen(t, attach.Config{})
	for n := 0; ; n++ {
		c := raw(t, o.Addr())
		c.SetReadDeadline(time.Now().Add(time.Millisecond)) // one that is served waits for hello
		errno, rest, _, err := answer(t, c)
		c.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if errno == uint32(syscall.EAGAIN) && strings.Contains(string(rest), "processes attached") {
			continue // it has not noticed that others have been closed
		}
		if n < attach.ConnectBurst || err != nil || errno != uint32(syscall.EAGAIN) ||
			string(rest) != "user connects too often: want at most 50 connections a second" {
			t.Errorf("connection %d: %d %q, %v", n, errno, rest, err)
		}
		break
	}
	o.dial(t)
}

// Dial waits for a server that has no room for another connection, as long as it may.
func TestDialTriesABusyServerAgain(t *testing.T) {
	need.Time(t, "it waits for a busy server")
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	must(t, unix.Listen(fd, 0))
	waiting, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"}) // all that the backlog has room for
	must(t, err)
	defer waiting.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = attach.Dial(ctx, path)
	if !errors.Is(err, syscall.EAGAIN) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "too many processes are connecting: no attempt succeeded: try again later") {
		t.Errorf("%v", err)
	}
	dialled := make(chan error)
	go func() {
		_, err := attach.Dial(t.Context(), path)
		dialled <- err
	}()
	// Once there is room it connects; then it is hung up on.
	for range 2 {
		c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		must(t, err)
		unix.Close(c)
	}
	if err := <-dialled; !errors.Is(err, syscall.ENETDOWN) {
		t.Errorf("%v", err)
	}
}
