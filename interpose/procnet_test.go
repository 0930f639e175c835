//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// The files are the kernel's for such devices, to the byte, except for counters.
func TestFilesOfProcNetAreTheKernels(t *testing.T) {
	need.Time(t, "it runs many programs")
	need.Root(t, "compare with the kernel's devices")
	ours := rxring.NewNamespace(rxring.NamespaceConfig{})
	d, err := ours.AddDevice(rxring.DeviceConfig{Name: "tap2", Prefixes: []netip.Prefix{
		netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.77/24"), netip.MustParsePrefix("10.1.2.3/32"),
		netip.MustParsePrefix("172.16.5.4/12"), netip.MustParsePrefix("172.16.5.4/20"), netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("fe80::77/64"),
	}})
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
	for _, script := range []string{ // without addresses that Linux makes
		"echo 0 >/proc/sys/net/ipv6/conf/lo/disable_ipv6", "ip link set lo up",
		"ip link set tap2 addrgenmode none", "echo 0 >/proc/sys/net/ipv6/conf/tap2/disable_ipv6",
		"echo 0 | tee /proc/sys/net/ipv6/conf/all/accept_dad >/proc/sys/net/ipv6/conf/tap2/accept_dad",
		"ip addr add 2001:db8::1/64 dev tap2", "ip addr add fe80::77/64 dev tap2",
		"timeout 10 sh -c 'while ip -6 addr show tentative | grep -q .; do sleep 0.01; done'",
	} {
		if out, err := in(ns, exec.Command("sh", "-c", script)); err != nil {
			need.Skip(t, need.Kernel, "no IPv6: %s: %v: %s", script, err, out)
		}
	}
	for name := range netdev.ProcNet {
		args := []string{"cat", "/proc/self/net/" + name}
		theirs, err := in(ns, exec.Command(args[0], args[1:]...))
		if err != nil {
			t.Fatalf("%v: %s", err, theirs)
		}
		mine := run(t, Config{Namespace: ours, Args: args}).ok(t).stdout
		if k, o := procLines(name, theirs), procLines(name, mine); !slices.Equal(k, o) {
			t.Errorf("%s: rxring\n%s\nkernel\n%s", name, strings.Join(o, "\n"), strings.Join(k, "\n"))
		}
	}
}

// procLines are a file's lines, sorted, because the kernel lists addresses by their hashes,
// and without the reference and use counts of IPv6 routes.
func procLines(name, text string) []string {
	lines := strings.Split(text, "\n")
	if name == "ipv6_route" {
		for i, l := range lines {
			lines[i] = counted.ReplaceAllString(l, "$1 - - $2")
		}
	}
	if name == "dev" {
		for i, l := range lines {
			if device, counters, ok := strings.Cut(l, ": "); ok {
				lines[i] = device + ": " + count.ReplaceAllStringFunc(counters, func(n string) string {
					return fmt.Sprintf("%*d", len(n), 0)
				})
			}
		}
	}
	slices.Sort(lines)
	return lines
}

var counted = regexp.MustCompile(`^((?:[0-9a-f]+ ){5}[0-9a-f]{8}) [0-9a-f]{8} [0-9a-f]{8} (.*)$`)

var count = regexp.MustCompile(` *[0-9]+`)
