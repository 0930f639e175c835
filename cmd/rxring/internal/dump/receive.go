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

// ctxCheckInterval is the number of packets between checks of the context while more
// packets are ready.
const ctxCheckInterval = 64

// receive receives and writes up to limit packets, or until there is an error.
func (d *dumper) receive(ctx context.Context, limit uint64) error {
	h := d.in.Handle
	for n := uint64(1); n <= limit; n++ {
		if n%ctxCheckInterval == 0 && ctx.Err() != nil {
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
			d.buffer = d.in.appendFrame(d.buffer[:0], f)
			p.len += len(d.buffer) - n
			if p.data = d.buffer; d.in.shared && !f.Intact() {
				return errReclaimed
			}
		}
		keep := d.in.Handle.Snaplen() // less than len(p.data) if a tag was reinserted
		if d.own != nil {
			if keep = d.filter(f); keep == 0 {
				continue
			}
		}
		p.data = p.data[:min(len(p.data), keep)]
		if err := d.out.write(p); err != nil {
			return err
		}
		if d.captured.Add(1) == uint64(d.Count) {
			return errEnough
		}
	}
	return nil
}

// idle is called when no packet is ready: it flushes the output, and sets the deadline at
// which the output's tick is due.
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

var errReclaimed = explain.Errorf(syscall.ENETDOWN, "the ring's owner has reclaimed its memory")

// filter runs the filter on the packet as it is written, and returns how many bytes to keep.
func (d *dumper) filter(f *ring.Frame) int {
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
