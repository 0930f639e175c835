//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package hub

// lockStore does nothing: this system has no flock.
func lockStore(string) (unlock func(), err error) { return func() {}, nil }
