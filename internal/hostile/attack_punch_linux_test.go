package hostile

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/attach"
)

// Pages that a hole took from a ring are missing for the writers, too. They fault, and a
// fault waits until no hole is being made: who makes one after the other leaves it hardly a
// moment.

var (
	_ = register(attack{
		name: "punch/4MiB", does: "punches holes into its own ring of 4 MiB", open: "item 1",
		run: func(ctx context.Context, at string) (string, error) { return tear(ctx, at, 4<<20, punch) },
	})
	_ = register(attack{
		name: "punch/250MiB", does: "punches holes into its own ring of 250 MiB", open: "item 1",
		run: func(ctx context.Context, at string) (string, error) { return tear(ctx, at, 250<<20, punch) },
	})
	_ = register(attack{
		name: "madvise/250MiB", does: "removes pages of its own ring of 250 MiB by madvise", open: "item 1",
		run: func(ctx context.Context, at string) (string, error) { return tear(ctx, at, 250<<20, remove) },
	})
)

func punch(fd int, b []byte) error {
	return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(len(b)))
}

func remove(_ int, b []byte) error { return unix.Madvise(b, unix.MADV_REMOVE) }

// tear takes pages away from its own ring of a size, again and again. Thrown out, it comes
// back.
func tear(ctx context.Context, at string, size int, how func(fd int, b []byte) error) (string, error) {
	var holes, rings tally
	for ctx.Err() == nil {
		err := tearOnce(ctx, at, size, how, &holes)
		rings.note(err)
		if err != nil && !pause(ctx, 10*time.Millisecond) {
			break
		}
	}
	return fmt.Sprintf("rings: %v; holes: %v", &rings, &holes), nil
}

func tearOnce(ctx context.Context, at string, size int, how func(fd int, b []byte) error, holes *tally) error {
	c, s, err := hostileSocket(ctx, at)
	if err != nil {
		return err
	}
	defer c.Close()
	fd, b, err := mapOwn(c, s, size)
	if err != nil {
		return err
	}
	defer unix.Munmap(b)
	for ctx.Err() == nil && c.Err() == nil {
		err := how(fd, b)
		holes.note(err)
		if err != nil && !pause(ctx, time.Millisecond) {
			break
		}
	}
	return c.Err()
}

// mapOwn gives the socket a ring, maps it, and binds the socket.
func mapOwn(c *attach.Client, s *attach.Socket, size int) (fd int, b []byte, err error) {
	if err := slots(s, size, 64<<10); err != nil {
		return -1, nil, err
	}
	if fd, err = s.Map(size); err != nil {
		return -1, nil, err
	}
	if b, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return -1, nil, err
	}
	return fd, b, bind(c, s)
}
