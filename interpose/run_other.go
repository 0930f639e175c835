//go:build !linux || !(amd64 || arm64)

package interpose

import (
	"context"
	"errors"
	"runtime"
)

// Run fails: only Linux on amd64 and arm64 can interpose.
func Run(context.Context, Config) (Result, error) {
	return Result{}, &unsupportedError{
		feature: "seccomp user notification on " + runtime.GOOS + "/" + runtime.GOARCH,
		since:   "5.9, on amd64 and arm64,",
		err:     errors.ErrUnsupported,
	}
}
