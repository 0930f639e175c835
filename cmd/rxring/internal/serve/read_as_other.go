//go:build !linux || !(amd64 || arm64)

package serve

import "github.com/rxring/rxring/cmd/rxring/internal/sandbox"

// readAs does not find out.
func readAs(*sandbox.User, string) error { return nil }
