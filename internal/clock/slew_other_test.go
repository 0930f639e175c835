//go:build !linux || !(amd64 || arm64)

package clock

import "testing"

func slew(*testing.T, int64) {} // the counter is not used
