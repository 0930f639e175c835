package attach_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/need"
)

// lingerEnv makes the test's program connect to the socket that it names and send a
// descriptor whose last close takes lingerFor, in a loop, until its standard input is
// closed.
const lingerEnv = "RXRING_TEST_LINGER"

const (
	lingerFor   = 60 // seconds
	lingerTries = attach.ConnectBurst + 50
)

// unreading accepts TCP connections, and reads nothing from them.
func unreading() (*net.TCPListener, error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	go func() {
		var held []net.Conn
		defer func() {
			for _, c := range held {
				c.Close()
			}
		}()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held = append(held, c)
		}
	}()
	return l, nil
}

// lingering is a connection to l whose last close takes lingerFor.
func lingering(l *net.TCPListener) (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	to := &unix.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	if err = unix.Connect(fd, to); err == nil {
		err = unix.SetNonblock(fd, true)
	}
	for b := make([]byte, 1<<16); err == nil; { // until there is no room
		_, err = unix.Write(fd, b)
	}
	if errors.Is(err, unix.EAGAIN) {
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: lingerFor})
	}
	return fd, err
}

// hurry has fd linger no more.
func hurry(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
}

// lingerAt is the program of lingerEnv. It says how often it has sent descriptors, and how
// often it could not.
func lingerAt(path string) {
	l, err := unreading()
	if err != nil {
		panic(err)
	}
	go func() {
		os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	for sent, refused := 0, 0; sent+refused < lingerTries; fmt.Println(sent, refused) {
		fd, err := lingering(l)
		if err != nil {
			panic(err)
		}
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		if err = unix.Connect(s, &unix.SockaddrUnix{Name: path}); err == nil {
			err = unix.Sendmsg(s, []byte{1}, unix.UnixRights(fd), nil, 0)
		}
		if err == nil {
			sent++
		} else {
			refused++
			hurry(fd)
		}
		go unix.Close(fd) // it may be the last, and waits then
		unix.Close(s)
	}
	select {}
}

// A user whom the server refuses cannot have it wait for the last close of what is sent to
// it: others attach, and the server ends.
func TestPassedDescriptorsDoNotBlockOthers(t *testing.T) {
	need.Time(t, "it floods")
	need.Root(t, "be several users")
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprintf("before Linux 6.16: %v", old), func(t *testing.T) {
			if old {
				defer attach.WithoutPassRights()()
			}
			strangersDescriptors(t)
		})
	}
}

func strangersDescriptors(t *testing.T) {
	const refused = 65532
	path := filepath.Join(openDir(t), "s")
	srv, err := attach.Listen(path, attach.Config{
		Namespace:   rxring.NewNamespace(rxring.NamespaceConfig{}),
		SocketPerms: func(file string) error { return os.Chmod(file, 0o666) },
		Grant: func(p attach.Peer) (attach.Grant, error) {
			if p.UID == refused {
				return attach.Grant{}, syscall.EACCES
			}
			return attach.Grant{}, nil
		},
	})
	must(t, err)
	defer srv.Close()
	stdout := runAs(t, refused, lingerEnv+"="+path)
	// Until the user connects too often, and the accept loop refuses it.
	for sent, failed := 0, 0; sent+failed < lingerTries; {
		_, err := fmt.Fscanln(stdout, &sent, &failed)
		must(t, err)
	}
	inTime(t, "others attach", func() {
		for range 5 {
			c, err := attach.Dial(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		}
	})
	inTime(t, "the server ends", func() { srv.Close() })
}

// inTime has f take much less than lingerFor.
func inTime(t *testing.T, what string, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if d := time.Since(begin); d > lingerFor*time.Second/3 {
		t.Errorf("%s: that took %v", what, d)
	}
}

// Nor can a user who is admitted.
func TestAPeersDescriptorsAreNotWaitedFor(t *testing.T) {
	need.Time(t, "it waits for a peer")
	l, err := unreading()
	must(t, err)
	defer l.Close()
	several := func(n int) (fds []int) {
		for range n {
			fd, err := lingering(l)
			must(t, err)
			fds = append(fds, fd)
		}
		return fds
	}
	defer attach.TrustNoUser()()
	o := listen(t, attach.Config{})
	var left []*net.UnixConn
	for range 3 {
		c, _ := greeted(t, o.Addr())
		// The first request waits. So ours is not the last close of what comes behind it: of
		// a request with more descriptors than one, and of what is unread when the server
		// hangs up, because there is an answer that we have not read.
		if len(left) == 0 {
			attach.ChargeAll(o.Server, 800*time.Millisecond)
		}
		_, err := c.Write(request(devices, 0, 2, 0, 1))
		must(t, err)
		for i, n := range []int{3, 1, 1} {
			fds := several(n)
			_, _, err := c.WriteMsgUnix(request(devices, 0, uint32(3+i), 0, 1), unix.UnixRights(fds...), nil)
			must(t, err)
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
		left = append(left, c)
	}
	for _, c := range left {
		inTime(t, "the connection ends", func() { c.Read(make([]byte, 1<<18)) })
	}
	inTime(t, "the server ends", func() { must(t, o.Close()) })
	for _, c := range left {
		c.Close()
	}
}

// A peer cannot send to the server's end of the second connection, which is not read.
func TestPeerCannotWriteToServersEvents(t *testing.T) {
	o := listen(t, attach.Config{})
	_, events := greeted(t, o.Addr())
	if err := unix.Send(events, []byte{1}, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); !errors.Is(err, unix.EPIPE) {
		t.Errorf("%v, want EPIPE", err)
	}
}
