// Package dialer attaches to the namespace that the --at flag names.
package dialer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/explain"
)

// busyTime bounds the retries while a server is busy.
const busyTime = 10 * time.Second

// Dial is [attach.Dial] with a time limit. at is a name that [attach.Find] finds, or the path
// of a unix socket.
func Dial(ctx context.Context, at string) (*attach.Client, error) {
	path, err := resolve(at)
	if err != nil {
		return nil, &fs.PathError{Op: "attach", Path: at, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	return attach.Dial(ctx, path)
}

// resolve returns the path of the socket. Published names have neither '/' nor '.'. Their
// directory belongs to the user, so a name comes before a file of the working directory.
func resolve(at string) (path string, err error) {
	if strings.ContainsAny(at, "/.") {
		return at, nil
	}
	p, err := attach.Find(at)
	if err == nil {
		return p.Path, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if _, statErr := os.Lstat(at); statErr == nil {
		return at, nil
	}
	return "", explain.Errorf(err, "%w, and there is no such socket here: `rxring ps` lists what there is", err)
}
