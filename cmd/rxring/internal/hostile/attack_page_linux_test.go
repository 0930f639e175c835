package hostile

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// slowPages is how many connections attack the page.
const slowPages = 200

var _ = register(attack{
	name: "page/slow", does: fmt.Sprintf("has %d connections to the page, each sending a request byte by byte", slowPages),
	page: true,
	nice: 19, // it writes a byte 20000 times a second
	run: func(ctx context.Context, at string) (string, error) {
		return inParallel(ctx, slowPages, func(int) (t tally) {
			t.note(trickle(ctx, pageOf(at)))
			return t
		}), nil
	},
})

// pageOf returns the socket of the page of the daemon at a path.
func pageOf(at string) string { return filepath.Join(filepath.Dir(at), "page") }

// trickle sends a request that does not end, until the daemon closes the connection.
func trickle(ctx context.Context, path string) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "); err != nil {
		return err
	}
	for pause(ctx, 10*time.Millisecond) {
		if _, err := c.Write([]byte{'x'}); err != nil {
			return err
		}
	}
	return nil
}
