package hostile

import (
	"context"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// Requests that are cheap for the attacker and expensive for the daemon.

var (
	_ = register(attack{
		name: "requests/rings", does: "makes and frees a ring of 64 MiB in a loop, on 4 connections",
		nice: 19,
		run: func(ctx context.Context, at string) (string, error) {
			return flood(ctx, at, 4, func(_ *attach.Client, s *attach.Socket) error {
				if err := slots(s, 64<<20, 2<<10); err != nil {
					return err
				}
				return s.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&tpacket.Req{}))
			})
		},
	})
	_ = register(attack{
		name: "requests/filters", does: "sets filters of 4096 instructions in a loop, on 8 connections",
		nice: 19,
		run: func(ctx context.Context, at string) (string, error) {
			prog := longest(cbpf.Instruction{Op: opAdd, K: 1})
			return flood(ctx, at, 8, func(_ *attach.Client, s *attach.Socket) error { return s.AttachFilter(prog) })
		},
	})
	_ = register(attack{
		name: "requests/binds", does: "binds to the device and away from it in a loop, on 8 connections",
		nice: 19,
		run: func(ctx context.Context, at string) (string, error) {
			return flood(ctx, at, 8, func(c *attach.Client, s *attach.Socket) error {
				if err := bind(c, s); err != nil {
					return err
				}
				return s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: 1})
			})
		},
	})
	_ = register(attack{
		name: "requests/status", does: "asks for the status in a loop, on 8 connections",
		nice: 19,
		run: func(ctx context.Context, at string) (string, error) {
			return flood(ctx, at, 8, func(c *attach.Client, _ *attach.Socket) error {
				_, err := c.Status()
				return err
			})
		},
	})
	_ = register(attack{
		name: "requests/fanout", does: "puts sockets into fanout groups and closes them, on 8 connections",
		nice: 19,
		run: func(ctx context.Context, at string) (string, error) {
			return flood(ctx, at, 8, func(c *attach.Client, _ *attach.Socket) error {
				s, err := c.Socket(rxring.SockRaw, 0)
				if err != nil {
					return err
				}
				defer s.Close()
				if err := bind(c, s); err != nil {
					return err
				}
				return s.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, u32(tpacket.FanoutArgs(7, tpacket.FanoutHash, tpacket.FanoutFlagDefrag)))
			})
		},
	})
	_ = register(attack{
		name: "requests/attach", does: "attaches and leaves in a loop, 8 times at once",
		nice: 19,
		run: func(ctx context.Context, at string) (string, error) {
			return flood(ctx, at, 8, func(*attach.Client, *attach.Socket) error {
				c, err := attach.Dial(ctx, at)
				if err == nil {
					c.Close()
				}
				return err
			})
		},
	})
)

// flood makes requests as fast as they are answered, on several connections.
func flood(ctx context.Context, at string, connections int, request func(*attach.Client, *attach.Socket) error) (string, error) {
	return inParallel(ctx, connections, func(int) tally { return floodOnce(ctx, at, request) }), nil
}

// floodOnce returns when it is detached.
func floodOnce(ctx context.Context, at string, request func(*attach.Client, *attach.Socket) error) (t tally) {
	c, s, err := hostileSocket(ctx, at)
	if err != nil {
		t.note(err)
		return t
	}
	defer c.Close()
	for ctx.Err() == nil {
		err := request(c, s)
		t.note(err)
		if detached(err) {
			return t
		}
	}
	return t
}
