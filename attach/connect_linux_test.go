package attach_test

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
)

// TestConnect: a process reads its own namespace within a grant, which can be revoked.
func TestConnect(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	d, err := ns.AddDevice(rxring.DeviceConfig{Name: "wg0"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ns.AddDevice(rxring.DeviceConfig{Name: "secret0"}); err != nil {
		t.Fatal(err)
	}
	at := t.TempDir() + "/sock"
	srv, err := attach.Listen(at, attach.Config{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	other, err := attach.Dial(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	all, err := capture.OpenAttached(other, "secret0", capture.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()

	var revoked error
	c, err := srv.Connect(t.Context(), func() (attach.Grant, error) {
		return attach.Grant{Socket: rxring.Grant{Snaplen: 20, Devices: func(d *rxring.Device) bool { return d.Name() == "wg0" }}}, revoked
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.Namespace().DeviceByName("secret0"); ok {
		t.Error("a device that is not granted is visible")
	}
	h, err := capture.OpenAttached(c, "wg0", capture.Config{Immediate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	st, err := c.Status()
	if err != nil || len(st.Sockets) != 1 || st.Sockets[0].Peer.PID != os.Getpid() || st.Sockets[0].Device != "wg0" {
		t.Errorf("want its own socket alone, not that of the other connection: %+v, %v", st.Sockets, err)
	}
	d.Deliver(&rxring.Packet{Data: make([]byte, 100)})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if f, err := h.Next(ctx); err != nil || f.Len != 100 || len(f.Data) != 20 {
		t.Errorf("want 20 bytes of 100: %+v, %v", f, err)
	}

	revoked = syscall.EACCES
	srv.Regrant()
	<-c.Done()
	if !errors.Is(c.Err(), syscall.EACCES) {
		t.Errorf("revoked: %v", c.Err())
	}
	if _, err := srv.Connect(ctx, func() (attach.Grant, error) { return attach.Grant{}, revoked }); !errors.Is(err, syscall.EACCES) {
		t.Errorf("refused: %v", err)
	}
	srv.Close()
	if _, err := srv.Connect(ctx, func() (attach.Grant, error) { return attach.Grant{}, nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
