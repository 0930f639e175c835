package hostile

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// The number of a filter's instructions is limited. These are few that take long.

var (
	_ = register(attack{
		name: "filter/nlattr", does: "filters by 2047 searches for a netlink attribute that is not there",
		rule: "max_sockets = 1", packet: nested,
		run: func(ctx context.Context, at string) (string, error) {
			return filter(ctx, at, longest(
				cbpf.Instruction{Op: opLoadXImm, K: 9},
				cbpf.Instruction{Op: opLoadImm, K: attributesAt},
				cbpf.Instruction{Op: opLoad, K: adNlattr}))
		},
	})
	_ = register(attack{
		name: "filter/payoffset", does: "filters by 4095 dissections of the packet",
		rule: "max_sockets = 1", packet: nested,
		run: func(ctx context.Context, at string) (string, error) {
			return filter(ctx, at, longest(cbpf.Instruction{Op: opLoad, K: adPayOffset}))
		},
	})
	_ = register(attack{
		name: "filter/few", does: "filters by 4 searches for a netlink attribute, on each of its 64 sockets",
		packet: nested,
		run: func(ctx context.Context, at string) (string, error) {
			search := []cbpf.Instruction{
				{Op: opLoadXImm, K: 9},
				{Op: opLoadImm, K: attributesAt},
				{Op: opLoad, K: adNlattr},
			}
			prog := append(slices.Repeat(search, 4), cbpf.Instruction{Op: opRet})
			return filter(ctx, at, prog)
		},
	})
	_ = register(attack{
		name: "filter/long", does: "filters by 4095 additions, on each of its 64 sockets",
		run: func(ctx context.Context, at string) (string, error) { return filter(ctx, at, additions()) },
	})
	_ = register(attack{
		name: "filter/users", does: "filters by 4095 additions, on each of its 64 sockets, as three others do",
		users: 4,
		run:   func(ctx context.Context, at string) (string, error) { return filter(ctx, at, additions()) },
	})
	_ = register(attack{
		name: "filter/fanout", does: "chooses among the sockets of each of 64 fanout groups by 4095 additions",
		run: func(ctx context.Context, at string) (string, error) { return chooseAll(ctx, at, additions()) },
	})
	_ = register(attack{
		name: "filter/restless", does: "attaches its filters of 4095 additions anew all the time, on 64 sockets",
		nice: 19,
		run:  func(ctx context.Context, at string) (string, error) { return restless(ctx, at, additions()) },
	})
)

// additions is the longest filter, of additions.
func additions() []cbpf.Instruction { return longest(cbpf.Instruction{Op: opAdd, K: 1}) }

// attributesAt is the offset of nested's netlink attributes.
const attributesAt = 14 + 20*headersDeep

// headersDeep is the most headers that Linux dissects (MAX_FLOW_DISSECT_HDRS).
const headersDeep = 15

// nested is a packet of nested IPv4 headers, followed by empty netlink attributes: the most
// expensive packet for a filter.
var nested = func() []byte {
	const ipv4, ipip, attribute = 0x0800, 4, 4
	b := newPacket(ipv4, 1514)
	for i := range headersDeep {
		h := b[14+20*i:]
		h[0], h[8], h[9] = 0x45, 64, ipip
		binary.BigEndian.PutUint16(h[2:], uint16(len(b)-14-20*i))
	}
	for at := attributesAt; at+attribute <= len(b)-trailerLen; at += attribute {
		binary.NativeEndian.PutUint16(b[at:], attribute)
	}
	return b
}()

// filter attaches prog to as many sockets as it may have.
func filter(ctx context.Context, at string, prog []cbpf.Instruction) (string, error) {
	var t tally
	for ctx.Err() == nil {
		t.note(filterOnce(ctx, at, prog))
		if !pause(ctx, 50*time.Millisecond) {
			break
		}
	}
	return t.String(), nil
}

// filterOnce returns when it is detached, or on an error.
func filterOnce(ctx context.Context, at string, prog []cbpf.Instruction) error {
	c, s, err := hostileSocket(ctx, at)
	if err != nil {
		return err
	}
	defer c.Close()
	for n := 0; err == nil && ctx.Err() == nil; n++ {
		if err = s.AttachFilter(prog); err != nil {
			return err
		}
		if err = bind(c, s); err != nil {
			return err
		}
		s, err = c.Socket(rxring.SockRaw, 0)
	}
	select { // no more sockets
	case <-ctx.Done():
	case <-c.Done():
	}
	return c.Err()
}

// openAll opens and binds as many sockets as it may, and calls prepare for each.
func openAll(ctx context.Context, at string, prepare func(n int, s *attach.Socket) error) (c *attach.Client, all []*attach.Socket, err error) {
	c, s, err := hostileSocket(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	for ; err == nil && ctx.Err() == nil; s, err = c.Socket(rxring.SockRaw, 0) {
		if err = bind(c, s); err == nil {
			err = prepare(len(all), s)
		}
		if err != nil {
			c.Close()
			return nil, nil, err
		}
		all = append(all, s)
	}
	return c, all, nil
}

// chooseAll makes a fanout group of each of its sockets, with the program prog.
func chooseAll(ctx context.Context, at string, prog []cbpf.Instruction) (string, error) {
	c, _, err := openAll(ctx, at, func(n int, s *attach.Socket) error {
		if err := s.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, u32(tpacket.FanoutArgs(uint16(n), tpacket.FanoutCBPF, 0))); err != nil {
			return err
		}
		return s.SetFanoutProgram(prog)
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	<-ctx.Done()
	return "", nil
}

// restless attaches prog to all its sockets in turn.
func restless(ctx context.Context, at string, prog []cbpf.Instruction) (string, error) {
	c, all, err := openAll(ctx, at, func(_ int, s *attach.Socket) error { return s.AttachFilter(prog) })
	if err != nil {
		return "", err
	}
	defer c.Close()
	var t tally
	for n := 0; ctx.Err() == nil; n++ {
		t.note(all[n%len(all)].AttachFilter(prog))
	}
	return t.String(), nil
}
