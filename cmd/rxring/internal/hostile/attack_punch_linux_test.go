package hostile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/attach"
)

// A hole removes pages of a ring from the writers, too. They fault, and a fault waits until no
// hole is being punched: an attacker who punches in a loop leaves hardly a moment. So a ring
// is sealed against holes once its reader has mapped it and before a packet is in it. Until
// the reader says so, the ring lies in the daemon's memory.

var (
	_ = registerTear("punch/4MiB", "punches holes into its own ring of 4 MiB", 4<<20, punch)
	_ = registerTear("punch/250MiB", "punches holes into its own ring of 250 MiB", 250<<20, punch)
	_ = registerTear("madvise/250MiB", "removes pages of its own ring of 250 MiB by madvise", 250<<20, remove)
	_ = registerTear("punch-early/250MiB", "punches holes into the memory for its ring and then says that it has mapped it", 250<<20, punchThenSay)
	_ = registerTear("punch-silent/250MiB", "punches holes into the memory for its ring and never says that it has mapped it", 250<<20, punchSilently)
)

// registerTear registers an attack that removes pages of a ring of size bytes.
func registerTear(name, does string, size int, how tearing) struct{} {
	return register(attack{name: name, does: does, run: func(ctx context.Context, at string) (string, error) {
		return tear(ctx, at, size, how)
	}})
}

// tearing removes pages from the memory at fd, mapped at b, of a socket's ring.
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

// tear removes pages of its own ring again and again. When it is detached, it attaches again.
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
		if errors.Is(err, unix.EINVAL) { // the memory was refused: try again with new memory
			return err
		}
		if err != nil && !pause(ctx, time.Millisecond) {
			break
		}
	}
	return c.Err()
}

// mapOwn makes a ring of slots for the socket, maps it, and binds the socket.
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
