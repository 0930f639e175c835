package hostile

import (
	"context"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

var _ = register(attack{
	name: "requests/arm", does: "asks for wake-ups, which have no answer to wait for, in a loop, on 8 connections",
	nice: 19,
	run: func(ctx context.Context, at string) (string, error) {
		return inParallel(ctx, 8, func(int) (t tally) { return armOnce(ctx, at) }), nil
	},
})

// armOnce speaks the protocol itself: a client of ours asks once for each wake-up.
func armOnce(ctx context.Context, at string) (t tally) {
	const opSocket, opArm = 4, 23
	fd, err := askInVain(at)
	if err != nil {
		t.note(err)
		return t
	}
	defer unix.Close(fd)
	request := func(op uint16, socket, seq uint32, arguments ...uint32) error {
		b := binary.NativeEndian.AppendUint16(nil, op)
		b = append(b, 0, 0)
		for _, v := range append([]uint32{socket, seq}, arguments...) {
			b = binary.NativeEndian.AppendUint32(b, v)
		}
		_, err := unix.Write(fd, b)
		return err
	}
	var answer [64]byte
	for seq := uint32(1); seq <= 2; seq++ { // of hello and opSocket
		if seq == 2 {
			err = request(opSocket, 0, seq, unix.SOCK_RAW, 0)
		}
		n := 0
		if err == nil {
			n, err = unix.Read(fd, answer[:])
		}
		if err == nil && (n < 12 || binary.NativeEndian.Uint32(answer[4:]) != 0) {
			err = fmt.Errorf("answer %d: % x", seq, answer[:n])
		}
		if err != nil {
			t.note(err)
			return t
		}
	}
	tv := unix.Timeval{Usec: 100_000}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	for seq := uint32(3); ctx.Err() == nil; seq++ {
		err := request(opArm, binary.NativeEndian.Uint32(answer[12:]), seq)
		t.note(err)
		if err != nil && err != unix.EAGAIN {
			return t
		}
	}
	return t
}
