package maxlen

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/internal/need"
)

// What ethtool and ip set is what is found.
func TestOfAVeth(t *testing.T) {
	need.Program(t, "ip", "ethtool")
	kringtest.Run(t, func(ns *kring.Namespace) {
		sh := func(command string) {
			t.Helper()
			if err := ns.Do(func() error {
				out, err := exec.Command("sh", "-ec", command).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%s: %w: %s", command, err, out)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		sh("ip link add v0 mtu 1400 type veth peer name v1")
		for _, step := range []struct {
			set  string
			want int
		}{
			{"true", 65536},
			{"ip link set v0 gso_max_size 185000 gro_max_size 100000", 185000},
			{"ethtool -K v0 tso off gso off gro on", 100000},
			{"ethtool -K v0 gro off", 1400},
			{"ip link set v0 mtu 9000", 9000},
			{"ethtool -K v0 gso on; ip link set v0 gso_max_size 524280", 524280},
			{"ip link set v0 gso_max_size 5000", 9000},
		} {
			sh(step.set)
			if err := ns.Do(func() error {
				n, err := Of("v0")
				if n != step.want {
					err = errors.Join(err, fmt.Errorf("%d bytes, want %d", n, step.want))
				}
				return err
			}); err != nil {
				t.Errorf("after %s: %v", step.set, err)
			}
		}
		if err := ns.Do(func() error {
			if _, err := Of("v9"); !errors.Is(err, unix.ENODEV) {
				return fmt.Errorf("no such interface: %w", err)
			}
			if _, err := Of(strings.Repeat("x", 16)); err == nil || !strings.Contains(err.Error(), "1 to 15 bytes") {
				return fmt.Errorf("a long name: %w", err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}
