package shortcall_test

import (
	"bytes"
	"errors"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/shortcall"
)

func TestCallsDoNotWait(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	set, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(set)
	if err := unix.EpollCtl(set, unix.EPOLL_CTL_ADD, ends[1], &unix.EpollEvent{Events: unix.EPOLLIN, Fd: 7}); err != nil {
		t.Fatal(err)
	}

	var b [8]byte
	var events [2]unix.EpollEvent
	check := func(readable bool) {
		t.Helper()
		want := 0
		if readable {
			want = 1
		}
		if n, err := shortcall.EpollWait(set, events[:]); n != want || err != nil {
			t.Errorf("EpollWait: %d, %v, want %d", n, err, want)
		}
		if ev, err := shortcall.Poll(ends[1], unix.POLLIN); ev&unix.POLLIN != 0 != readable || err != nil {
			t.Errorf("Poll: %#x, %v, want readable %v", ev, err, readable)
		}
	}
	check(false)
	if n, err := shortcall.Recv(ends[1], b[:], 0); n != 0 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("Recv of nothing: %d, %v, want EAGAIN", n, err)
	}
	if _, _, _, err := shortcall.Recvmsg(ends[1], b[:], nil); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("Recvmsg of nothing: %v, want EAGAIN", err)
	}

	for range 2 {
		if err := shortcall.Send(ends[0], []byte("packet")); err != nil {
			t.Fatal(err)
		}
	}
	check(true)
	if events[0].Fd != 7 {
		t.Errorf("EpollWait: event of descriptor %d, want 7", events[0].Fd)
	}
	var unread int32
	if _, err := shortcall.Ioctl(ends[1], unix.SIOCINQ, unsafe.Pointer(&unread)); unread != 12 || err != nil {
		t.Errorf("SIOCINQ: %d, %v, want 12", unread, err)
	}
	if n, err := shortcall.Recv(ends[1], b[:], 0); n != 6 || err != nil || !bytes.HasPrefix(b[:], []byte("packet")) {
		t.Errorf("Recv: %d, %q, %v", n, b, err)
	}
	oob := make([]byte, 64)
	if n, oobn, flags, err := shortcall.Recvmsg(ends[1], b[:4], oob); n != 4 || oobn != 0 || flags&unix.MSG_TRUNC == 0 || err != nil {
		t.Errorf("Recvmsg into 4 bytes: %d, %d, %#x, %v, want 4, 0, MSG_TRUNC", n, oobn, flags, err)
	}

	var typ [4]byte
	if err := shortcall.Getsockopt(ends[0], unix.SOL_SOCKET, unix.SO_TYPE, typ[:]); typ[0]+typ[3] != unix.SOCK_SEQPACKET || err != nil {
		t.Errorf("SO_TYPE: %v, %v", typ, err)
	}
}
