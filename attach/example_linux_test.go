package attach_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
)

// tempSocket returns a path for an example's socket, and a function that removes it.
func tempSocket() (path string, remove func()) {
	dir, err := os.MkdirTemp("", "rxring")
	if err != nil {
		log.Fatal(err)
	}
	return filepath.Join(dir, "wg0.sock"), func() { os.RemoveAll(dir) }
}

// A process offers its devices, and another one lists them.
func Example() {
	path, remove := tempSocket()
	defer remove()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	if _, err := ns.AddDevice(rxring.DeviceConfig{Name: "wg0", Type: rxring.RawIP}); err != nil {
		log.Fatal(err)
	}
	srv, err := attach.Listen(path, attach.Config{Namespace: ns})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	// In the other process; package capture reads the packets.
	c, err := attach.Dial(context.Background(), path)
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range c.Namespace().Devices() {
		fmt.Println(d.Name())
	}
	c.Close()
	fmt.Println(errors.Is(c.Err(), os.ErrClosed))
	// Output:
	// wg0
	// true
}

// Users in the group 1000 may read the first 96 bytes of each packet of wg0, and others
// nothing.
func ExampleConfig_grant() {
	path, remove := tempSocket()
	defer remove()
	config := attach.Config{
		Namespace: rxring.NewNamespace(rxring.NamespaceConfig{}),
		Grant: func(p attach.Peer) (attach.Grant, error) {
			if p.GID != 1000 {
				return attach.Grant{}, fmt.Errorf("group %d may not read: %w", p.GID, syscall.EACCES)
			}
			return attach.Grant{
				Socket: rxring.Grant{
					Snaplen: 96,
					Devices: func(d *rxring.Device) bool { return d.Name() == "wg0" },
				},
				MaxMemory:  64 << 20,
				MaxSockets: 4,
			}, nil
		},
		SocketPerms: func(file string) error { return os.Chmod(file, 0o660) },
	}
	srv, err := attach.Listen(path, config)
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	_, err = config.Grant(attach.Peer{GID: 100})
	fmt.Println(err)
	// Output: group 100 may not read: permission denied
}

// The error of a failed Dial has the socket's path and unwraps to the errno.
func ExampleDial_error() {
	_, err := attach.Dial(context.Background(), "/no/such.sock")
	var failed *fs.PathError
	fmt.Println(errors.As(err, &failed), failed.Op, failed.Path)
	fmt.Println(errors.Is(err, syscall.ENOENT))
	// Output:
	// true attach /no/such.sock
	// true
}
