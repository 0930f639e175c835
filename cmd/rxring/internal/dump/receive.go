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
	for n := uint64(1); n <= limit; n++ {
		if n%ctxCheckInterval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if !d.ready() {
			if err := d.idle(); err != nil {
				return err
			}
		}
		f, err := d.next(ctx)
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
		if f == nil {
			n--
			continue
		}
		d.read++
		p := &d.packet
		if p.device, err = d.in.deviceOf(&f.From); err != nil {
			return err
		}
		p.time, p.len, p.data = f.UnixNano(), f.Len, f.Data
		p.comment, p.index = f.Comment(), uint32(d.read)
		p.outgoing = f.From.Pkttype == tpacket.PacketOutgoing
		if p.device.reshapes() || tagged(f) || d.in.shared {
			n := len(f.Data)
			d.buffer = p.device.appendFrame(d.buffer[:0], f)
			p.len += len(d.buffer) - n
			if p.data = d.buffer; d.in.shared && !f.Intact() {
				return errReclaimed
			}
		}
		keep := d.in.Handle.Snaplen() // less than len(p.data) if a tag was reinserted
		if own := p.device.own; own != nil {
			if keep = d.filter(own, f); keep == 0 {
				continue
			}
		}
		p.data = p.data[:min(len(p.data), keep)]
		if err := d.out.write(p); err != nil {
			return err
		}
		d.bytes += int64(len(p.data))
		if d.captured.Add(1) == uint64(d.Count) || d.Bytes > 0 && d.bytes >= d.Bytes {
			return errEnough
		}
	}
	return nil
}

// ready reports whether next returns without waiting.
func (d *dumper) ready() bool {
	if d.order != nil {
		return d.order.ready()
	}
	return d.in.Handle.Ready()
}

// next returns the next packet, which is valid until the next call, or nil: try again.
func (d *dumper) next(ctx context.Context) (*ring.Frame, error) {
	if d.order != nil {
		return d.order.next(ctx)
	}
	return d.in.Handle.Next(ctx)
}

// idle is called when no packet is ready: it flushes the output, and sets the deadline at
// which the output's tick is due, or packets need no longer wait for earlier ones.
func (d *dumper) idle() error {
	if err := d.out.idle(); err != nil {
		return err
	}
	if d.draining {
		return nil
	}
	due := d.out.due()
	if d.order != nil {
		if end := d.order.deadline(); !end.IsZero() && (due.IsZero() || end.Before(due)) {
			due = end
		}
	}
	if due == d.due {
		return nil
	}
	d.due = due
	return d.in.Handle.SetDeadline(due)
}

var errReclaimed = explain.Errorf(syscall.ENETDOWN, "the ring's owner has reclaimed its memory")

// filter runs a filter on the packet as it is written, and returns how many bytes to keep.
func (d *dumper) filter(own *cbpf.Filter, f *ring.Frame) int {
	d.frame = cbpf.Packet{
		Data:       d.packet.data,
		Len:        uint32(d.packet.len),
		Ifindex:    uint32(f.From.Ifindex),
		RxHash:     f.Hash,
		Protocol:   tpacket.Htons(f.From.Protocol),
		Hatype:     f.From.Hatype,
		PacketType: uint8(f.From.Pkttype),
	}
	return int(min(own.Run(&d.frame), math.MaxInt32))
}
