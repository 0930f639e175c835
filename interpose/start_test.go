//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestALimitOnProcessesIsNamed(t *testing.T) {
	for _, name := range []string{"launcher", "/usr/bin/tcpdump"} {
		err := startError(name, unix.EAGAIN)
		if !errors.Is(err, unix.EAGAIN) || !strings.HasPrefix(err.Error(), "interpose: "+name+": ") || !strings.Contains(err.Error(), "ulimit -u") {
			t.Errorf("%v", err)
		}
	}
}
