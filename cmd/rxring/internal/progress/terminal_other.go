//go:build !unix

package progress

import "os"

// IsTerminal reports whether f is a terminal. On this system it cannot, and returns false.
func IsTerminal(*os.File) bool { return false }
