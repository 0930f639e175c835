package hostile

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// Readers that do not read as they should.

var (
	_ = register(attack{
		name: "reader/slow", does: "takes a packet every half second from a ring of 32 slots",
		run: func(ctx context.Context, at string) (string, error) {
			const size, slot = 1 << 20, 32 << 10
			return misread(ctx, at, size, slot, func(b []byte) {
				for at := 0; pause(ctx, 500*time.Millisecond); at = (at + slot) % size {
					binary.NativeEndian.PutUint32(b[at:], 0) // TP_STATUS_KERNEL
				}
			})
		},
	})
	_ = register(attack{
		name: "reader/scribbles", does: "writes over all of its ring in a loop", nice: 19,
		run: func(ctx context.Context, at string) (string, error) {
			return misread(ctx, at, 4<<20, 2<<10, func(b []byte) {
				for ctx.Err() == nil {
					for range 1000 {
						b[rand.IntN(len(b))] = byte(rand.Int())
					}
				}
			})
		},
	})
	_ = register(attack{
		name: "reader/tags", does: "has 64 sockets, 20 of them with rings of 10 MiB, where packets have VLAN tags", packet: tagged,
		run: func(ctx context.Context, at string) (string, error) { return many(ctx, at, 20, 10<<20) },
	})
	_ = register(attack{
		name: "reader/many", does: "has 64 sockets, 20 of them with rings of 10 MiB, and reads none",
		run: func(ctx context.Context, at string) (string, error) { return many(ctx, at, 20, 10<<20) },
	})
)

// tagged is a packet of VLAN 5.
var tagged = func() []byte {
	b := newPacket(0x8100, 200)
	copy(b[14:], []byte{0, 5, 0x88, 0xb5})
	return b
}()

// misread has a ring of size bytes in slots of slot bytes, in which read does something
// until the end.
func misread(ctx context.Context, at string, size, slot int, read func(b []byte)) (string, error) {
	c, s, err := hostileSocket(ctx, at)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_, b, err := mapOwn(c, s, size, slot)
	if err != nil {
		return "", err
	}
	defer unix.Munmap(b)
	if err := s.Mapped(); err != nil {
		return "", err
	}
	read(b)
	return fmt.Sprintf("%+v", s.Totals()), c.Err()
}

// many opens all sockets that it may have, the first of them with rings.
func many(ctx context.Context, at string, rings, size int) (string, error) {
	var opened, mapped tally
	c, s, err := hostileSocket(ctx, at)
	if err != nil {
		return "", err
	}
	defer c.Close()
	for {
		opened.note(err)
		if errors.Is(err, syscall.ENFILE) {
			break
		}
		if err != nil {
			return "", err
		}
		if mapped.tried < rings {
			mapped.note(slots(s, size, 2<<10))
		}
		if err := bind(c, s); err != nil {
			return "", err
		}
		s, err = c.Socket(rxring.SockRaw, 0)
	}
	<-ctx.Done()
	return fmt.Sprintf("sockets: %v; rings: %v", &opened, &mapped), c.Err()
}
