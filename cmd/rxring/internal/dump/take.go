package dump

import (
	"context"
	"errors"
	"math"
	"os"
	"syscall"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// askEvery is after how many packets it is asked whether the context has ended,
// though there is more to read.
const askEvery = 64

// take is a packet's life here, for so many packets, or until there is an error.
func (d *dumper) take(ctx context.Context, most uint64) error {
	h := d.in.Handle
	for n := uint64(1); n <= most; n++ {
		if n%askEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if !h.Ready() {
			if err := d.idle(); err != nil {
				return err
			}
		}
		f, err := h.Next(ctx)
		if errors.Is(err, os.ErrDeadlineExceeded) && !d.draining {
			if err := d.out.tick(); err != nil {
				return err
			}
			n--
			continue
		}
		if err != nil {
			return err
		}
		d.read++
		p := &d.packet
		p.time, p.len, p.data = f.Sec*1e9+f.Nsec, f.Len, f.Data
		p.outgoing = f.From.Pkttype == tpacket.PacketOutgoing
		if d.in.reshapes() || tagged(f) || d.in.shared {
			n := len(f.Data)
			d.copy = d.in.appendFrame(d.copy[:0], f)
			p.len += len(d.copy) - n
			if p.data = d.copy; d.in.shared && !f.Intact() {
				return errTakenBack
			}
		}
		pass := d.in.Handle.Snaplen() // a tag that was put back may have made it longer
		if d.own != nil {
			if pass = d.passes(f); pass == 0 {
				continue
			}
		}
		p.data = p.data[:min(len(p.data), pass)]
		if err := d.out.write(p); err != nil {
			return err
		}
		if d.captured.Add(1) == uint64(d.Count) {
			return errEnough
		}
	}
	return nil
}

// idle is for when there is nothing to read: the output hands on what it has, and is
// called again when its time is over.
func (d *dumper) idle() error {
	if err := d.out.idle(); err != nil {
		return err
	}
	if due := d.out.due(); !d.draining && due != d.due {
		d.due = due
		return d.in.Handle.SetDeadline(due)
	}
	return nil
}

var errTakenBack = explain.Errorf(syscall.ENETDOWN, "its owner has taken the ring back")

// passes says how many bytes of the packet its own filter lets pass.
func (d *dumper) passes(f *ring.Frame) int {
	d.frame = cbpf.Packet{
		Data:       d.packet.data,
		Len:        uint32(d.packet.len),
		Ifindex:    uint32(f.From.Ifindex),
		RxHash:     f.Hash,
		Protocol:   tpacket.Htons(f.From.Protocol),
		Hatype:     f.From.Hatype,
		PacketType: uint8(f.From.Pkttype),
	}
	return int(min(d.own.Run(&d.frame), math.MaxInt32))
}
