package hostile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
)

// Pages of a ring that lie in a pipe or in a socket's queue stay there when the ring is
// gone. Whose memory cgroup they are charged to is what counts: see TestPinnedMemory.

const pinRule = `max_memory = "64MiB"`

var _ = register(attack{
	name: "pin", does: "keeps pages of rings in sockets and pipes that nobody reads, has rings that are never mapped, and reads no answers",
	rule: pinRule, nice: 19,
	run: func(ctx context.Context, at string) (string, error) {
		var did pinning
		did.begin(ctx, at)
		return did.String(), nil
	},
})

// pinning counts what the attack has.
type pinning struct {
	pinned, rings, unmapped, unread, refused atomic.Int64 // pinned in bytes
}

func (p *pinning) String() string {
	return fmt.Sprintf("%d MiB pinned of %d rings; %d rings never mapped; %d answers not read; %d times refused",
		p.pinned.Load()>>20, p.rings.Load(), p.unmapped.Load(), p.unread.Load(), p.refused.Load())
}

const (
	pinRing = 16 << 20  // bytes
	pinMost = 512 << 20 // which this machine has to spare
)

func (p *pinning) begin(ctx context.Context, at string) {
	raise := unix.Rlimit{}
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &raise) == nil {
		raise.Cur = raise.Max
		unix.Setrlimit(unix.RLIMIT_NOFILE, &raise)
	}
	var wg sync.WaitGroup
	for _, f := range []func(context.Context, string) error{p.pin, p.keepSilent, p.readNothing} {
		wg.Go(func() {
			for ctx.Err() == nil {
				if f(ctx, at) != nil {
					p.refused.Add(1)
				}
				pause(ctx, 10*time.Millisecond)
			}
		})
	}
	wg.Wait()
}

// pin makes a ring, keeps its pages, and closes it.
func (p *pinning) pin(ctx context.Context, at string) error {
	c, s, err := hostileSocket(ctx, at)
	if err != nil {
		return err
	}
	defer c.Close()
	fd, b, err := mapOwn(c, s, pinRing, 2048)
	if err != nil {
		return err
	}
	defer unix.Munmap(b)
	if err := s.Mapped(); err != nil {
		return err
	}
	p.rings.Add(1)
	if !pause(ctx, 50*time.Millisecond) || p.pinned.Load() >= pinMost {
		return nil
	}
	for at := int64(0); at < pinRing; {
		n, err := keep(fd, b, at)
		if err != nil || n == 0 {
			return err
		}
		at += n
		p.pinned.Add(n)
	}
	return nil
}

// keep puts pages of a ring, from an offset on, where nobody reads them, in one way or
// another, and returns how many bytes that are. They stay there as long as the process.
func keep(fd int, ring []byte, at int64) (n int64, err error) {
	pair := make([]int, 2)
	switch at / (1 << 16) % 3 {
	case 0:
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return 0, err
		}
		sent, err := unix.Sendfile(fds[0], fd, &at, 1<<20)
		return int64(sent), err
	case 1:
		if err := unix.Pipe2(pair, unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
			return 0, err
		}
		v := unix.Iovec{Base: &ring[at]}
		v.SetLen(min(1<<16, len(ring)-int(at)))
		sent, err := vmsplice(pair[1], &v)
		return int64(sent), err
	default:
		if err := unix.Pipe2(pair, unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
			return 0, err
		}
		return unix.Splice(fd, &at, pair[1], nil, 1<<16, unix.SPLICE_F_NONBLOCK)
	}
}

// keepSilent has rings that fill up and are never mapped.
func (p *pinning) keepSilent(ctx context.Context, at string) error {
	c, s, err := hostileSocket(ctx, at)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(slots(s, pinRing, 2048), bind(c, s)); err != nil {
		return err
	}
	p.unmapped.Add(1)
	pause(ctx, time.Second)
	return nil
}

// readNothing has as many connections as there may be, asks each for a list, and reads no
// answer.
func (p *pinning) readNothing(ctx context.Context, at string) error {
	for range 32 {
		c, err := attach.Dial(ctx, at)
		if err != nil {
			return err
		}
		defer c.Close()
		if s, err := c.Socket(3, 0); err == nil && s.AttachFilter(longest(cbpf.Instruction{Op: opLoadImm})) != nil {
			p.refused.Add(1)
		}
		silent, err := askInVain(at)
		if err != nil {
			return err
		}
		defer os.NewFile(uintptr(silent), "").Close()
		p.unread.Add(1)
	}
	pause(ctx, time.Second)
	return nil
}

// askInVain says hello, and reads no answer.
func askInVain(at string) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	hello := append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, "rxring\x00\x01\x04\x00\x00\x00"...)
	if err = unix.Connect(fd, &unix.SockaddrUnix{Name: at}); err == nil {
		_, err = unix.Write(fd, hello)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
