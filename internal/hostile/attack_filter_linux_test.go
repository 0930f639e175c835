package hostile

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
)

// A filter is bounded in instructions. These are few that take long.

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
		run: func(ctx context.Context, at string) (string, error) {
			return filter(ctx, at, longest(cbpf.Instruction{Op: opAdd, K: 1}))
		},
	})
)

// attributesAt is where nested has its netlink attributes.
const attributesAt = 14 + 20*headersDeep

// headersDeep is the most headers that Linux walks through (MAX_FLOW_DISSECT_HDRS).
const headersDeep = 15

// nested is a packet of IPv4 headers within each other, in front of netlink attributes
// without content: what takes a filter longest.
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

// filter has all the sockets that it may have run prog for each packet.
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

// filterOnce returns when it is thrown out, or could not begin.
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
