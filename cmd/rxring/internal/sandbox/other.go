//go:build !linux

package sandbox

import "errors"

// Entered is false: only Linux has the sandbox.
func Entered() (s State, ok bool) { return s, false }

// Enter fails: only Linux has the sandbox.
func Enter(Config) error { return errors.ErrUnsupported }

// FilterCalls fails: only Linux has the sandbox.
func FilterCalls() error { return errors.ErrUnsupported }
