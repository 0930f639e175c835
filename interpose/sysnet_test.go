//go:build linux && (amd64 || arm64)

package interpose

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// A device's files are the kernel's for such devices and for lo.
func TestFilesOfSysClassNetAreTheKernels(t *testing.T) {
	need.Time(t, "it runs many programs")
	need.Root(t, "compare with the kernel's devices")
	files := []string{"addr_len", "address", "broadcast", "carrier", "flags", "ifalias", "ifindex", "iflink", "link_mode", "mtu", "operstate", "tx_queue_len", "type", "wireless", "nosuch", "statistics/nosuch"}
	for _, s := range netdev.Statistics {
		files = append(files, "statistics/"+s)
	}
	for _, c := range []rxring.DeviceConfig{
		{Name: "tap2", MTU: 1400, Alias: "web-1/eth0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}},
		{Name: "tun2", Type: rxring.RawIP, MTU: 1280},
	} {
		t.Run(c.Name, func(t *testing.T) {
			ours, ns := namespacesAlike(t, c)
			var paths []string
			for _, d := range []string{"lo", c.Name, "none0"} {
				for _, f := range files {
					paths = append(paths, "/sys/class/net/"+d+"/"+f)
				}
			}
			// Each line has its file's name, and comes in turn with errors.
			script := "{ grep --line-buffered -H '' " + strings.Join(paths, " ") + " 2>&1 || true; }"
			kernel, err := in(ns, exec.Command("unshare", "--mount", "sh", "-c", "ip link set lo up && ip link set "+c.Name+" alias '"+c.Alias+"' && mount -t sysfs none /sys && "+script))
			if err != nil {
				need.Skip(t, need.Kernel, "no sysfs: %v: %s", err, kernel)
			}
			mine := run(t, Config{Namespace: ours, Args: []string{"sh", "-c", script}}).ok(t).stdout
			theirs := strings.Split(kernel, "\n")
			for i, l := range strings.Split(mine, "\n") {
				if i < len(theirs) && l != theirs[i] {
					t.Errorf("rxring: %s\nkernel: %s", l, theirs[i])
				}
			}
		})
	}
}
