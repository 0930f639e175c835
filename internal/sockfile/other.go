//go:build !linux

package sockfile

import (
	"errors"
	"net"
)

// File is the file of a socket that this process listens at.
type File struct{}

var errSystem = errors.New("only Linux can listen at such a socket")

// Listen fails.
func Listen(string, string, func(string) error) (*net.UnixListener, *File, error) {
	return nil, nil, errSystem
}

// Check fails.
func Check(string) error { return errSystem }

// MakePrivate fails.
func MakePrivate(string) error { return errSystem }

// CheckPrivate does nothing.
func CheckPrivate(string) error { return nil }

// Permit fails.
func (*File) Permit(func(string) error) error { return errSystem }

// Close does nothing.
func (*File) Close() error { return nil }
