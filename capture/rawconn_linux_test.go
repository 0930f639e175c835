package capture_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
)

// TestSyscallConn sends on the handle of a live interface, which does not receive what it
// sends. The handle of a device has no descriptor.
func TestSyscallConn(t *testing.T) {
	kringtest.Run(t, func(ns *kring.Namespace) {
		w := newTap(t, ns)
		h := w.open(t, quick(false))
		conn, err := h.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		send := func() (err error) {
			err2 := conn.Control(func(fd uintptr) { _, err = unix.Write(int(fd), packet(7)) })
			return errors.Join(err, err2)
		}
		if err := send(); err != nil {
			t.Error(err)
		}
		w.receive(t, packet(8))
		p, err := h.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		check(t, p, 8)
		h.Close()
		if err := send(); err == nil {
			t.Error("sent on a closed handle")
		}
	})
	if _, err := newOurs(t).open(t, quick(false)).SyscallConn(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a device's handle: %v", err)
	}
}
