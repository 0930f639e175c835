package hostile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/attach"
)

// Pages that a hole took from a ring are missing for the writers, too. They fault, and a
// fault waits until no hole is being made: who makes one after the other leaves it hardly a
// moment. So a ring that its reader has mapped is sealed against holes before a packet is in
// it, and one that the reader keeps silent about lies in memory of the daemon's.

var (
	_ = register(attack{
		name: "punch/4MiB", does: "punches holes into its own ring of 4 MiB",
		run: func(ctx context.Context, at string) (string, error) { return tear(ctx, at, 4<<20, punch) },
	})
	_ = register(attack{
		name: "punch/250MiB", does: "punches holes into its own ring of 250 MiB",
		run: func(ctx context.Context, at string) (string, error) { return tear(ctx, at, 250<<20, punch) },
	})
	_ = register(attack{
		name: "madvise/250MiB", does: "removes pages of its own ring of 250 MiB by madvise",
		run: func(ctx context.Context, at string) (string, error) { return tear(ctx, at, 250<<20, remove) },
	})
	_ = register(attack{
		name: "punch-early/250MiB", does: "punches holes into the memory for its ring and then says that it has mapped it",
		run: func(ctx context.Context, at string) (string, error) { return tear(ctx, at, 250<<20, punchThenSay) },
	})
	_ = register(attack{
		name: "punch-silent/250MiB", does: "punches holes into the memory for its ring and never says that it has mapped it",
		run: func(ctx context.Context, at string) (string, error) { return tear(ctx, at, 250<<20, punchSilently) },
	})
)

// tearing takes pages away from the memory at fd, mapped at b, of a socket's ring.
type tearing func(s *attach.Socket, fd int, b []byte) error

func punch(s *attach.Socket, fd int, b []byte) error {
	if err := s.Mapped(); err != nil {
		return err
	}
	return punchSilently(s, fd, b)
}

func punchThenSay(s *attach.Socket, fd int, b []byte) error {
	if err := punchSilently(s, fd, b); err != nil {
		return err
	}
	return s.Mapped()
}

func punchSilently(_ *attach.Socket, fd int, b []byte) error {
	return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(len(b)))
}

func remove(s *attach.Socket, _ int, b []byte) error {
	if err := s.Mapped(); err != nil {
		return err
	}
	return unix.Madvise(b, unix.MADV_REMOVE)
}

// tear takes pages away from its own ring of a size, again and again. Thrown out, it comes
// back.
func tear(ctx context.Context, at string, size int, how tearing) (string, error) {
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

func tearOnce(ctx context.Context, at string, size int, how tearing, holes *tally) error {
	c, s, err := hostileSocket(ctx, at)
	if err != nil {
		return err
	}
	defer c.Close()
	fd, b, err := mapOwn(c, s, size, 64<<10)
	if err != nil {
		return err
	}
	defer unix.Munmap(b)
	for ctx.Err() == nil && c.Err() == nil {
		err := how(s, fd, b)
		holes.note(err)
		if errors.Is(err, unix.EINVAL) { // the memory was refused: again with other memory
			return err
		}
		if err != nil && !pause(ctx, time.Millisecond) {
			break
		}
	}
	return c.Err()
}

// mapOwn gives the socket a ring of slots, maps it, and binds the socket.
func mapOwn(c *attach.Client, s *attach.Socket, size, slot int) (fd int, b []byte, err error) {
	if err := slots(s, size, slot); err != nil {
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
