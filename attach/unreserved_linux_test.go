package attach_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
)

// as runs f on a thread of user uid, which ends then.
func as[T any](uid uint32, f func() T) T {
	done := make(chan T)
	go func() {
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			panic(errno)
		}
		done <- f()
	}()
	return <-done
}

// unreservedServer is one that keeps memory for the user named, and lets all others in.
func unreservedServer(t *testing.T, named uint32) *attach.Server {
	t.Helper()
	need.Root(t, "be several users")
	srv, err := attach.Listen(filepath.Join(openDir(t), "s"), attach.Config{
		Namespace:   rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 64 << 20, Reserved: 1 << 20}),
		SocketPerms: func(file string) error { return os.Chmod(file, 0o666) },
		Grant:       func(attach.Peer) (attach.Grant, error) { return attach.Grant{}, nil },
		Reserve: func(uid uint32) int64 {
			if uid == named {
				return 1 << 20
			}
			return 0
		},
	})
	must(t, err)
	t.Cleanup(func() { srv.Close() })
	return srv
}

// dialAs attaches as a user.
func dialAs(t *testing.T, uid uint32, path string) (*attach.Client, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	type result struct {
		c   *attach.Client
		err error
	}
	r := as(uid, func() result {
		c, err := attach.Dial(ctx, path)
		return result{c, err}
	})
	if r.err == nil {
		t.Cleanup(func() { r.c.Close() })
	}
	return r.c, r.err
}

// A person with many user IDs, each of which holds connections, keeps out others of the same
// rule, but not those for whom memory is kept, nor root.
func TestUsersWithoutReserveDoNotBlockThoseWithOne(t *testing.T) {
	const named, first, most = 3000, 100000, 10
	srv := unreservedServer(t, named)
	attach.LimitUnreserved(srv, most, 3)
	var clients []*attach.Client
	for i := range uint32(most) {
		c, err := dialAs(t, first+i, srv.Addr())
		must(t, err)
		clients = append(clients, c)
	}
	const text = `users without reserved memory (those of a rule for "*" or for a group) have 10 processes attached, the most that are allowed together: try again later`
	c := as(first+most, func() *net.UnixConn { return raw(t, srv.Addr()) })
	if errno, rest, _, err := answer(t, c); err != nil || errno != uint32(syscall.EAGAIN) || string(rest) != text {
		t.Errorf("one more: %d %s, %v", errno, rest, err)
	}
	for _, uid := range []uint32{named, named, 0} {
		if _, err := dialAs(t, uid, srv.Addr()); err != nil {
			t.Errorf("user %d: %v", uid, err)
		}
	}
	for _, c := range clients[:3] {
		socket(t, c, rxring.SockRaw)
	}
	_, err := clients[3].Socket(rxring.SockRaw, 0)
	if !errors.Is(err, syscall.ENFILE) || !strings.Contains(err.Error(), `(those of a rule for "*" or for a group) have 3 packet sockets, the most that are allowed together: try again later`) {
		t.Errorf("a fourth socket: %v", err)
	}
	one, err := dialAs(t, named, srv.Addr())
	must(t, err)
	socket(t, one, rxring.SockRaw)

	// A user that detaches makes room for another, whose Dial has tried again until then.
	must(t, clients[0].Close())
	one, err = dialAs(t, first+most, srv.Addr())
	must(t, err)
	socket(t, one, rxring.SockRaw)
}

// Users without a reserve get half of the descriptors, however few there are.
func TestUsersWithoutAReserveHaveHalfOfTheDescriptors(t *testing.T) {
	for files, want := range map[int][2]int{0: {1, 1}, 64: {5, 16}, 1024: {85, 256}, 65536: {1024, 16384}} {
		if peers, sockets := attach.UnreservedOf(files); peers != want[0] || sockets != want[1] {
			t.Errorf("%d descriptors: %d connections and %d sockets, want %v", files, peers, sockets, want)
		}
	}
}

// leaveFiles has this process have n descriptors left, until it is called back.
func leaveFiles(t *testing.T, n int) (back func()) {
	t.Helper()
	var before unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(before.Cur, 256), Max: before.Max}))
	var taken []int
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	for range n {
		unix.Close(taken[len(taken)-1])
		taken = taken[:len(taken)-1]
	}
	return func() {
		for _, fd := range taken {
			unix.Close(fd)
		}
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before))
	}
}

// Where there are no descriptors left, a process that attaches is told so, and so is the log.
func TestAServerWithoutDescriptors(t *testing.T) {
	events := make(chan attach.Event, 10)
	o := listen(t, attach.Config{Notify: func(e attach.Event) {
		if e.Kind == attach.PeerRefused {
			events <- e
		}
	}})
	o.dial(t)                // what is opened once is open now
	defer leaveFiles(t, 2)() // for the two ends
	const text = "the server has no descriptors left: try again later, or raise its limit (LimitNOFILE= of systemd, ulimit -n)"
	errno, rest, _, err := answer(t, raw(t, o.Addr()))
	if err != nil || errno != uint32(syscall.EAGAIN) || string(rest) != text {
		t.Errorf("%d %s, %v", errno, rest, err)
	}
	if e := <-events; e.Err == nil || e.Err.Error() != text {
		t.Errorf("the event: %v", e.Err)
	}
}
