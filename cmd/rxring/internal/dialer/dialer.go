// Package dialer attaches to the server of the --at flag.
package dialer

import (
	"context"
	"time"

	"github.com/rxring/rxring/attach"
)

// busyTime bounds the retries while a server is busy.
const busyTime = 10 * time.Second

// Dial is [attach.Dial] with a time limit.
func Dial(ctx context.Context, path string) (*attach.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	return attach.Dial(ctx, path)
}
