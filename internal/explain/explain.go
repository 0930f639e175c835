// Package explain makes errors that are read as one plain sentence, and matched by the
// errno or sentinel behind it: "net0: there is no such device" is ENODEV to [errors.Is],
// without ": no such device" a second time.
package explain

import "fmt"

// Errorf returns an error whose text is the formatted sentence alone, and which unwraps to
// cause. A %w in format is unwrapped, too.
func Errorf(cause error, format string, args ...any) error {
	return &explained{fmt.Errorf(format, args...), cause}
}

type explained struct{ sentence, cause error }

func (e *explained) Error() string   { return e.sentence.Error() }
func (e *explained) Unwrap() []error { return []error{e.sentence, e.cause} }
