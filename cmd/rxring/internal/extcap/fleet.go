package extcap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cmd/rxring/internal/dump"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
)

// A fleet is a namespace whose at and path are a source such as nats://hub/web-*/eth0. Its
// devices are called HOST/DEVICE, their alias.

// fleetServer returns the server of a fleet's source; ok is false for the path of a socket.
func fleetServer(other string) (host string, ok bool) {
	spec, err := feed.Parse(other)
	if err != nil {
		return "", false
	}
	address, ok := spec.FleetServer()
	host, _, _ = net.SplitHostPort(address)
	return host, ok
}

// openFleet adds the devices that a source has to a namespace.
func openFleet(ctx context.Context, from string) (*rxring.Namespace, *feed.Set, error) {
	spec, err := feed.Parse(from)
	if err != nil {
		return nil, nil, fmt.Errorf("--from %w", err)
	}
	ns, set := rxring.NewNamespace(rxring.NamespaceConfig{}), feed.NewSet("--from")
	if err := set.Open(ctx, []feed.Spec{spec}, feed.Config{Namespace: ns}); err != nil {
		return nil, nil, err
	}
	return ns, set, nil
}

// fleetInterfaces returns the devices of a fleet.
func (ns namespace) fleetInterfaces(ctx context.Context) (all []Interface, err error) {
	devices, set, err := openFleet(ctx, ns.path)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	for _, d := range devices.Devices() {
		all = append(all, Interface{Name: ns.interfaceName(d.Alias()), Display: "rxring at " + ns.at, Device: d.Alias(), Type: d.Type()})
	}
	return all, nil
}

// openFleetDevice opens a capture on HOST/DEVICE of a fleet.
func (ns namespace) openFleetDevice(ctx context.Context, device string, c capture.Config) (*dump.Input, func() error, error) {
	from, err := narrowed(ns.path, device)
	if err != nil {
		return nil, nil, err
	}
	devices, set, err := openFleet(ctx, from)
	if err != nil {
		return nil, nil, err
	}
	in, err := dump.OpenDevices(devices, nil, c)
	if err != nil {
		return nil, nil, errors.Join(err, set.Close())
	}
	in.Start = func() (<-chan struct{}, error) { return nil, set.StartAll() }
	return in, func() error { return errors.Join(set.Close(), in.Close()) }, nil
}

// narrowed returns a fleet's source with one device only.
func narrowed(from, device string) (string, error) {
	u, err := url.Parse(strings.ReplaceAll(from, ",,", ","))
	if err != nil {
		return "", err
	}
	i := strings.LastIndexByte(device, '/')
	if i < 0 {
		return "", fmt.Errorf("device %q: want HOST/DEVICE", device)
	}
	literal := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`) // in a pattern
	host, name := literal.Replace(device[:i]), literal.Replace(device[i+1:])
	u.Path, u.RawPath = "/"+host+"/"+name, "/"+url.PathEscape(host)+"/"+url.PathEscape(name)
	return strings.ReplaceAll(u.String(), ",", ",,"), nil
}
