//go:build !linux || !(amd64 || arm64)

package serve

import "github.com/rxring/rxring/cmd/rxring/internal/sandbox"

// readableBy does not find out.
func readableBy(*sandbox.User, string) error { return nil }
