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
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	if strings.ContainsAny(at, "/.") { // published names have neither
		return attach.Dial(ctx, at)
	}
	if _, err := attach.Find(at); !errors.Is(err, fs.ErrNotExist) {
		// Their directory belongs to the user, so a name comes before a file of the working
		// directory.
		return attach.DialPublished(ctx, at)
	} else if _, statErr := os.Lstat(at); statErr != nil {
		return nil, &fs.PathError{Op: "attach", Path: at, Err: explain.Errorf(err, "there is no such socket here, and %w", err)}
	}
	return attach.Dial(ctx, at)
}
