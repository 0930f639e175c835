// Package dialer attaches for the commands that have --at.
package dialer

import (
	"context"
	"time"

	"github.com/rxring/rxring/attach"
)

// busyTime is how long a server that is busy is tried again.
const busyTime = 10 * time.Second

// Dial is [attach.Dial] with a limit on the time that it takes.
func Dial(ctx context.Context, path string) (*attach.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	return attach.Dial(ctx, path)
}
