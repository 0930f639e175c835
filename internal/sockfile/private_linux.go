package sockfile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// MakePrivate makes a directory of mode 0700, unless it is there, and checks it.
func MakePrivate(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return CheckPrivate(dir)
}

// CheckPrivate checks that no other user can change what is in a directory: EPERM. Who finds
// sockets there must check it, too.
func CheckPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || info.Mode().Perm()&0o077 != 0 || ok && st.Uid != uint32(os.Geteuid()) {
		return explain.Errorf(syscall.EPERM, "%s has mode %v: want a directory of user %d with mode 0700: change it, or remove it", dir, info.Mode(), os.Geteuid())
	}
	return nil
}
