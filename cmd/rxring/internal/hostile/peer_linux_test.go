package hostile

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// What attacks have in common: a socket bound to the daemon's device.

// hostileSocket attaches and opens a socket. The caller closes the client.
func hostileSocket(ctx context.Context, at string) (*attach.Client, *attach.Socket, error) {
	c, err := attach.Dial(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	s, err := c.Socket(rxring.SockRaw, 0)
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, s, nil
}

// bind binds to the daemon's device and all protocols.
func bind(c *attach.Client, s *attach.Socket) error {
	d, ok := c.Namespace().DeviceByName(deviceName)
	if !ok {
		return fmt.Errorf("there is no %s", deviceName)
	}
	return s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(d.Index()), Protocol: tpacket.Htons(tpacket.ETHPAll)})
}

// slots asks for a ring (TPACKET_V2) of size bytes, a multiple of 1 MiB, in slots of slot
// bytes.
func slots(s *attach.Socket, size, slot int) error {
	const block = 1 << 20
	req := tpacket.Req{BlockSize: block, BlockNr: uint32(size / block), FrameSize: uint32(slot), FrameNr: uint32(size / slot)}
	return errors.Join(
		s.Setsockopt(tpacket.SolPacket, tpacket.OptVersion, u32(uint32(tpacket.V2))),
		s.Setsockopt(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&req)))
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// detached says whether the daemon has thrown the attacker out, or is about to end.
func detached(err error) bool { return errors.Is(err, syscall.ENETDOWN) }

// pause waits, or returns false at the attack's end.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// longest is as long a filter as Linux takes (BPF_MAXINSNS). It repeats a body, and drops
// every packet.
func longest(body ...cbpf.Instruction) []cbpf.Instruction {
	const maxInstructions = 4096
	prog := make([]cbpf.Instruction, 0, maxInstructions)
	for len(prog)+len(body) < maxInstructions {
		prog = append(prog, body...)
	}
	return append(prog, cbpf.Instruction{Op: opRet})
}

// Opcodes and ancillary loads (linux/bpf_common.h, linux/filter.h).
const (
	opRet       = 0x06       // BPF_RET | BPF_K
	opLoadImm   = 0x00       // BPF_LD | BPF_IMM
	opLoadXImm  = 0x01       // BPF_LDX | BPF_IMM
	opLoad      = 0x20       // BPF_LD | BPF_W | BPF_ABS
	opAdd       = 0x04       // BPF_ALU | BPF_ADD | BPF_K
	adNlattr    = 0xfffff00c // SKF_AD_OFF + SKF_AD_NLATTR
	adPayOffset = 0xfffff034 // SKF_AD_OFF + SKF_AD_PAY_OFFSET
)
