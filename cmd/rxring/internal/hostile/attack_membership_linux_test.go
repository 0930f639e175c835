package hostile

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/tpacket"
)

var (
	_ = register(attack{
		name: "memberships/early", does: "has joined 65,536 multicast groups before others start",
		early: 2 * time.Second, // no interface is open yet
		run:   func(ctx context.Context, at string) (string, error) { return joinAll(ctx, at, false) },
	})
	_ = register(attack{
		name: "memberships/reading", does: "joins 65,536 multicast groups and reads",
		run: func(ctx context.Context, at string) (string, error) { return joinAll(ctx, at, true) },
	})
)

// joinAll joins with as many sockets as necessary, each on a connection of its own. They read
// packets, or are not bound.
func joinAll(ctx context.Context, at string, read bool) (string, error) {
	return inParallel(ctx, memberships/perSocket, func(i int) tally { return joinOnce(ctx, at, i*perSocket, read) }), nil
}

const (
	memberships = 65_536
	perSocket   = 8192
)

// joinOnce joins a socket's share, and returns when it is detached.
func joinOnce(ctx context.Context, at string, first int, read bool) (t tally) {
	c, s, err := hostileSocket(ctx, at)
	if err == nil {
		defer c.Close()
	}
	if err == nil && read {
		err = bind(c, s)
	}
	if err != nil {
		t.note(err)
		return t
	}
	for n := first; n < first+perSocket && ctx.Err() == nil; n++ {
		err := join(c, s, uint32(n))
		t.note(err)
		if detached(err) || err != nil && !pause(ctx, time.Millisecond) {
			return t
		}
	}
	select {
	case <-ctx.Done():
	case <-c.Done():
	}
	return t
}

// join joins an IPv4 group (RFC 1112).
func join(c *attach.Client, s *attach.Socket, group uint32) error {
	d, ok := c.Namespace().DeviceByName(deviceName)
	if !ok {
		return nil // removed: the attack is about to end
	}
	const multicast, addrLen = 0, 6 // PACKET_MR_MULTICAST, ETH_ALEN
	b := u32(uint32(d.Index()))     // struct packet_mreq (linux/if_packet.h)
	b = binary.NativeEndian.AppendUint16(b, multicast)
	b = binary.NativeEndian.AppendUint16(b, addrLen)
	b = append(b, 0x01, 0x00, 0x5e, byte(group>>16)&0x7f, byte(group>>8), byte(group), 0, 0)
	return s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, b)
}
