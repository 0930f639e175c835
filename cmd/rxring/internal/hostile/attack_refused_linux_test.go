package hostile

import (
	"context"
	"net"
	"time"
)

var _ = register(attack{
	name: "refused", does: "is refused, and connects and hangs up again in a loop",
	stranger: true,
	run: func(ctx context.Context, at string) (string, error) {
		var t tally
		knock(ctx, at, &t)
		return t.String(), nil
	},
})

var _ = register(attack{
	name: "hang-up", does: "is allowed, and connects and hangs up again in a loop",
	run: func(ctx context.Context, at string) (string, error) {
		var t tally
		knock(ctx, at, &t)
		return t.String(), nil
	},
})

// knock connects and hangs up, without a word.
func knock(ctx context.Context, at string, t *tally) {
	for ctx.Err() == nil {
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: at, Net: "unixpacket"})
		t.note(err)
		if err == nil {
			c.Close()
		} else if !pause(ctx, time.Millisecond) { // the backlog is full
			return
		}
	}
}
