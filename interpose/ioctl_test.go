//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/need"
)

// Answers that may differ from the kernel's: lines that match.
var wantedIoctlDifferences = map[string]*regexp.Regexp{
	"IFF_PROMISC can be set, as with CAP_NET_ADMIN":       regexp.MustCompile(`^0x8914 `),
	"the speed is unknown":                                regexp.MustCompile(`^ethtool 0x(1|4c) 00 00 00 00|^ethtool 0x(1|4c) (01|4c) `),
	"the driver's name and version":                       regexp.MustCompile(`^ethtool 0x3 `),
	"lists of what a driver can do are not served":        regexp.MustCompile(`^ethtool 0x(e|1b|20|37|3a|3c)\b`),
	"wireless requests depend on CONFIG_WEXT_CORE":        regexp.MustCompile(`^0x8b`),
	"bridges and VLANs are as without the modules":        regexp.MustCompile(`^0x89(4[01]|8[23]) `),
	"routes, ARP, send queues: not about devices":         regexp.MustCompile(`^0x89(4b|4c|5[345]|e.) `),
	"IPv6's requests do not have a struct ifreq":          regexp.MustCompile(`^0x89(16|18|36) inet6 `),
	"IPv4's requests to change something are all refused": regexp.MustCompile(`^0x89(16|18|1a|1c|34|35|36) `),
}

// On every kind of socket, every request about a device gets the kernel's answer for a TAP
// or TUN device.
func TestRequestsAboutDevicesGetTheKernelsAnswers(t *testing.T) {
	need.Time(t, "it runs programs for seconds")
	need.Root(t, "compare with the kernel's devices")
	needStory(t)
	bin := filepath.Join(storyDir, "ioctls")
	if out, err := exec.Command("cc", "-O1", "-Wall", "-Wextra", "-Wno-stringop-truncation", "-Werror", "-o", bin, "testdata/ioctls.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []rxring.DeviceConfig{
		{Name: "tap2", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("198.51.100.1/30"), netip.MustParsePrefix("2001:db8::1/64")}},
		{Name: "tun2", Type: rxring.RawIP, MTU: 1280},
		{Name: "tap3", MaxLen: 65535},
		{Name: "tun3", Type: rxring.RawIP, MaxLen: 65535},
	} {
		t.Run(c.Name, func(t *testing.T) {
			ours, ns := namespacesAlike(t, c)
			if out, err := in(ns, exec.Command("ip", "link", "set", "lo", "up")); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			kernel, err := in(ns, exec.Command(bin, c.Name))
			if err != nil {
				t.Fatalf("%v: %s", err, kernel)
			}
			o := run(t, Config{Namespace: ours, Args: []string{bin, c.Name}}).ok(t)
			if len(o.Missing) == 0 {
				t.Error("nothing missing, though it asked for what is not there")
			}
			theirs, mine := strings.Split(kernel, "\n"), strings.Split(o.stdout, "\n")
			if len(theirs) != len(mine) {
				t.Fatalf("%d lines, the kernel %d", len(mine), len(theirs))
			}
		lines:
			for i := range mine {
				if mine[i] == theirs[i] {
					continue
				}
				for _, wanted := range wantedIoctlDifferences {
					if wanted.MatchString(theirs[i]) {
						continue lines
					}
				}
				t.Errorf("rxring: %s\nkernel: %s", mine[i], theirs[i])
			}
		})
	}
}

// deviceAlike makes a TAP or TUN device like d.
func deviceAlike(t *testing.T, ns *kring.Namespace, d *rxring.Device) error {
	var k *kring.Device
	var err error
	arp := "on"
	if d.Type() == rxring.RawIP {
		arp = "off"
		k, err = ns.TUN(d.Name(), d.Index())
	} else {
		k, err = ns.TAP(d.Name(), d.Index(), d.HardwareAddr())
	}
	if err != nil {
		return err
	}
	t.Cleanup(k.Close)
	if err := k.Offload(unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6); err != nil {
		return err
	}
	if !d.Segments() {
		if out, err := in(ns, exec.Command("ethtool", "-K", d.Name(), "tso", "off", "gso", "off", "gro", "off")); err != nil {
			return fmt.Errorf("ethtool: %w: %s", err, out)
		}
	}
	script := fmt.Sprintf("link set %s multicast on arp %s mtu %d\n", d.Name(), arp, d.MTU())
	for _, a := range d.Prefixes() {
		if a.Addr().Is4() {
			script += fmt.Sprintf("addr add %v dev %s\n", a, d.Name())
		}
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := in(ns, cmd); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return nil
}

// namespacesAlike makes a namespace of ours and one of the kernel's with the same device.
func namespacesAlike(t *testing.T, c rxring.DeviceConfig) (*rxring.Namespace, *kring.Namespace) {
	t.Helper()
	ours := rxring.NewNamespace(rxring.NamespaceConfig{})
	d, err := ours.AddDevice(c)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := kring.New()
	if err != nil {
		need.Skip(t, need.Kernel, "no network namespace: %v", err)
	}
	t.Cleanup(ns.Close)
	if err := deviceAlike(t, ns, d); err != nil {
		need.Skip(t, need.Kernel, "no device: %v", err)
	}
	return ours, ns
}
