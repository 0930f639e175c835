//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// lookPath finds the program, as [exec.Cmd] would.
func lookPath(cfg *Config) (string, error) {
	name := cfg.Args[0]
	file := name
	if cfg.Dir != "" && strings.Contains(name, "/") && !filepath.IsAbs(name) {
		file = filepath.Join(cfg.Dir, name)
	}
	path, err := exec.LookPath(file)
	switch {
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("interpose: %w", err)
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("interpose: %s: %w", name, exec.ErrNotFound)
	case err != nil:
		return "", startError(name, errnoOf(err))
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", fmt.Errorf("interpose: %s: %w", name, err)
	}
	return path, nil
}

// startError explains why the program, or the launcher, could not be started.
func startError(name string, errno syscall.Errno) error {
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR:
		return fmt.Errorf("interpose: %s: %w (%w)", name, exec.ErrNotFound, errno)
	case syscall.EACCES:
		return fmt.Errorf("interpose: %s: %w: want a file that this user may execute", name, errno)
	case syscall.EAGAIN: // of fork, or of execve after setuid
		return fmt.Errorf("interpose: %s: %w: this user's processes and threads are as many as they may be (ulimit -u, or pids.max of the cgroup): want room for some more", name, errno)
	case syscall.EISDIR:
		return fmt.Errorf("interpose: %s: %w (%w)", name, fs.ErrPermission, errno)
	}
	return fmt.Errorf("interpose: %s: %w", name, errno)
}

func bytes64(v uint64) []byte { return binary.NativeEndian.AppendUint64(nil, v) }
