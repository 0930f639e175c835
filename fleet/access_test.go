package fleet_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/fleet/hub"
	"github.com/rxring/rxring/internal/need"
)

// dialAs connects with an access.
func dialAs(t *testing.T, url string, a fleet.Access) (*nats.Conn, error) {
	t.Helper()
	options, err := a.Options()
	if err != nil {
		t.Fatal(err)
	}
	nc, err := fleet.Dial(url, options...)
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

// A user of a class reads through it and no other; without credentials there is no connection.
func TestUsersOfAHub(t *testing.T) {
	need.Time(t, "it runs a fleet for a second")
	dir := t.TempDir()
	made, err := hub.Init(dir, hub.InitConfig{Classes: []string{fleet.DefaultClass, "start"}})
	if err != nil || len(made) != 9 {
		t.Fatalf("%v, %v", made, err)
	}
	if made, err := hub.Init(dir, hub.InitConfig{}); made != nil || err != nil {
		t.Errorf("again: %v, %v", made, err)
	}
	h, err := hub.Start(hub.Config{Listen: "127.0.0.1:0", Auth: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	if _, err := dialAs(t, h.URL(), fleet.Access{}); !errors.Is(err, syscall.EACCES) || !strings.Contains(err.Error(), "wants to know who this is") {
		t.Errorf("without credentials: %v", err)
	}
	as := func(file string) *nats.Conn {
		nc, err := dialAs(t, h.URL(), fleet.Access{Creds: filepath.Join(dir, file)})
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	far := newDevice(t, eth0)
	ship(t, as("ship.creds"), far, fleet.ShipConfig{Host: "a", Classes: []fleet.Class{{}, {Name: "start"}}})
	reader := as("read-start.creds")
	if _, err := fleet.Discover(t.Context(), reader, fleet.Query{}); !errors.Is(err, fleet.ErrDenied) || !errors.Is(err, syscall.EACCES) {
		t.Errorf("another class: %v", err)
	}
	for _, subject := range []string{"rxring.v1.*.*.*.s.all.*", "rxring.v1.>", ">", "_INBOX.>", "_INBOX.read-all.>", "rxring.v1.*.*.*.r.*"} {
		sub, err := reader.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		reader.Flush()
		if err := reader.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
			t.Errorf("subscribed to %s: %v", subject, err)
		}
		sub.Unsubscribe()
	}
	r := read(t, reader, fleet.ReaderConfig{Query: fleet.Query{Class: "start"}})
	c := r.open(t, capture.Config{})
	send(far, 0, 100)
	if captured, drops := whole(t, c, 100); captured != 100 {
		t.Errorf("captured %d, dropped %v", captured, drops)
	}
}

func TestNKey(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := pair.PublicKey()
	seed, _ := pair.Seed()
	file := filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Host: "0.0.0.0", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, Nkeys: []*server.NkeyUser{{Nkey: id}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	_, port, _ := net.SplitHostPort(s.Addr().String())
	if _, err := dialAs(t, "nats://127.0.0.1:"+port, fleet.Access{NKey: file}); err != nil {
		t.Error(err)
	}
	// To another address than a loopback one, a user authenticates with TLS, or not at all.
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if ip := a.(*net.IPNet).IP; !ip.IsLoopback() && ip.To4() != nil {
			if _, err := dialAs(t, "nats://"+ip.String()+":"+port, fleet.Access{NKey: file}); !errors.Is(err, nats.ErrSecureConnWanted) {
				t.Errorf("authenticated at %v without TLS: %v", ip, err)
			}
			return
		}
	}
	t.Log("this machine has no address to test that TLS is required at")
}

func TestAccessErrors(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, a := range map[string]fleet.Access{
		`creds "a", nkey "b": want one of them`:       {Creds: "a", NKey: "b"},
		"creds: open none: ":                          {Creds: "none"},
		"want a file of credentials, such as":         {Creds: text},
		"nkey: open none: ":                           {NKey: "none"},
		"want a file with the seed of a user's key":   {NKey: text},
		"it has no certificate: want a PEM file of c": {CA: text},
		"ca: open none: ":                             {CA: "none"},
	} {
		if _, err := a.Options(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
}
