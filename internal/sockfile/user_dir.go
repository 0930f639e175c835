package sockfile

import (
	"os"
	"path/filepath"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// RootRuntimeDir is root's runtime directory. Only tests change it.
var RootRuntimeDir = "/run"

// UserDir returns the path of a directory for sockets of this user's processes, in the user's
// runtime directory: [RootRuntimeDir] for root, who may have inherited another user's
// environment, otherwise $XDG_RUNTIME_DIR. ENOENT: that is not set. See [MakePrivate].
func UserDir(name string) (string, error) {
	dir := RootRuntimeDir
	if os.Geteuid() != 0 {
		dir = os.Getenv("XDG_RUNTIME_DIR")
	}
	if dir == "" {
		return "", explain.Errorf(syscall.ENOENT, "XDG_RUNTIME_DIR is not set: want a directory that only this user may use, such as /run/user/%d", os.Geteuid())
	}
	return filepath.Join(dir, name), nil
}
