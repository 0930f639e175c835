//go:build !linux

package race

import (
	"context"
	"fmt"
	"runtime"
)

// Kernel needs packet sockets, which only Linux has.
func Kernel(context.Context, KernelConfig) (*KernelReport, error) {
	return nil, fmt.Errorf("--kernel asks Linux's packet sockets: there are none on %s", runtime.GOOS)
}

// Rerun has nothing to offer here.
func Rerun(_ context.Context, cause error) (code int, err error) { return 0, cause }
