package attach

import "github.com/rxring/rxring/internal/sockfile"

// WithoutPassRights has servers do without SO_PASSRIGHTS, as before Linux 6.16, and returns
// what changes it back.
func WithoutPassRights() (back func()) {
	withoutPassRights = true
	return func() { withoutPassRights = false }
}

// SetRootRuntimeDir replaces root's runtime directory, and returns what changes it back.
func SetRootRuntimeDir(dir string) (back func()) {
	old := sockfile.RootRuntimeDir
	sockfile.RootRuntimeDir = dir
	return func() { sockfile.RootRuntimeDir = old }
}
