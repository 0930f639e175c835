package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/size"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
	"github.com/rxring/rxring/tpacket"
)

// statsInterval is the least time between reports of drops.
const statsInterval = 500 * time.Millisecond

// deviceCapture sends the packets of a device to a client.
type deviceCapture struct {
	c      *session
	dev    *rxring.Device
	handle *capture.Handle // nil: there was no memory for its ring
	link   capfile.LinkType
	cooked bool
	own    *cbpf.Filter // run in this goroutine, on packets in the form of files; nil: none
	snap   int          // bytes of each packet that are sent
	in     *streamInterface
	buffer []byte

	ctx  context.Context // until the session's end, or some time after the device was removed
	stop context.CancelFunc
	gone bool // the device was removed; used by session.run

	read     uint64    // packets from the ring
	received uint64    // as reported
	dropped  uint64    // as reported
	checked  time.Time // when drops were last looked at
}

// maxWriterFilter is the most instructions of a client's filter that writers run for each
// packet, as for a source (rxring.Device.Filters). A longer filter, or one with loads that search
// the packet, runs in the client's goroutine: writers and other readers do not pay for it.
const maxWriterFilter = 96

// newCapture returns a capture that is not open.
func (c *session) newCapture(d *rxring.Device) *deviceCapture {
	a := &deviceCapture{c: c, dev: d, snap: cmp.Or(c.request.SnapLen, maxSnapLen)}
	a.link, a.cooked = linktype.OfDevice(d.Type())
	return a
}

// description describes the device in the stream.
func (a *deviceCapture) description() capfile.Interface {
	return capfile.Interface{Name: a.dev.Name(), LinkType: a.link, SnapLen: uint32(a.snap), Filter: a.c.request.Filter}
}

// open opens the ring, with the request's filter and snapshot length.
func (a *deviceCapture) open() error {
	c := a.c
	cfg := capture.Config{Buffer: c.s.cfg.Buffer, Snaplen: c.request.SnapLen, Cooked: a.cooked, Promiscuous: true, Comments: true, IgnoreOutgoing: a.dev.Type() == rxring.Loopback, Grant: &rxring.Grant{Budget: c.s.rings}}
	prog, err := c.program(a.link)
	if err != nil {
		return err
	}
	switch {
	case prog == nil:
	case a.cooked || a.link == linktype.CAN || len(prog) > maxWriterFilter || cbpf.Walks(prog) > 0:
		if a.own, err = cbpf.Compile(prog); err != nil {
			return refusef("program: %v", err)
		}
		cfg.Snaplen = 0 // a filter sees whole packets
	default:
		cfg.Filter = prog
	}
	a.handle, err = capture.OpenDevice(a.dev, cfg)
	if errors.Is(err, syscall.ENOMEM) {
		return a.noMemory()
	}
	if err == nil {
		a.ctx, a.stop = context.WithCancel(c.ctx)
	}
	return err
}

// noMemoryError means that there is no memory for a device's ring.
type noMemoryError struct{ text string }

func (e *noMemoryError) Error() string { return e.text }

func (a *deviceCapture) noMemory() error {
	s := a.c.s
	return &noMemoryError{fmt.Sprintf(`device %q: no memory for its ring of %s: the rings of all clients hold %d bytes of at most %s (Config.Memory), and those of the namespace at most %s: want one "device" in the request, or try again when another client has left`,
		a.dev.Name(), size.Format(int64(s.cfg.Buffer)), s.rings.Held(), size.Format(s.cfg.Memory), size.Format(s.ns.MaxMemory()))}
}

// program returns the request's filter for a link type; nil: everything.
func (c *session) program(link capfile.LinkType) ([]cbpf.Instruction, error) {
	if c.request.Filter == "" {
		return parseProgram(c.request.Program)
	}
	if c.s.cfg.Compile == nil {
		return nil, refusef("filter %q: this server compiles no filters: want a program in its place", c.request.Filter)
	}
	prog, err := c.s.cfg.Compile(c.request.Filter, link)
	if err != nil {
		return nil, refusef("filter %q: %v", c.request.Filter, err)
	}
	return prog, nil
}

// start describes the device, and sends its packets in a goroutine.
func (c *session) start(a *deviceCapture) {
	var err error
	if a.in, err = c.interfaceOf(a.description()); err != nil {
		a.close()
		c.cancel(err)
		return
	}
	c.captured.Go(func() {
		defer a.close()
		if err := a.send(); err != nil {
			c.cancel(err)
		}
		a.report(true)
	})
}

func (a *deviceCapture) close() {
	a.stop()
	a.handle.Close()
}

// send sends packets until the client leaves, or the device is removed.
func (a *deviceCapture) send() error {
	for {
		if !a.handle.Ready() {
			if err := a.report(false); err != nil {
				return err
			}
			if err := a.c.flush(); err != nil {
				return err
			}
		}
		f, err := a.handle.Next(a.ctx)
		switch {
		case a.c.ctx.Err() != nil:
			return context.Cause(a.c.ctx)
		case err != nil && a.ctx.Err() != nil: // while it was down it was removed, which is not reported
			return nil
		case errors.Is(err, syscall.ENETDOWN) && slices.Contains(a.dev.Namespace().Devices(), a.dev):
			continue // it is down; reported once
		case errors.Is(err, syscall.ENETDOWN):
			return nil
		case err != nil:
			return err
		}
		a.read++
		if err := a.write(f); err != nil {
			return err
		}
		if time.Since(a.checked) >= statsInterval {
			if err := a.report(false); err != nil {
				return err
			}
		}
	}
}

// write writes a packet, if the filter accepts it.
func (a *deviceCapture) write(f *ring.Frame) error {
	a.buffer = linktype.AppendFrame(a.buffer[:0], a.link, a.cooked, f)
	length := f.Len + len(a.buffer) - len(f.Data)
	keep := a.snap
	if a.own != nil {
		n := a.own.Run(&cbpf.Packet{Data: a.buffer, Len: uint32(length), Ifindex: uint32(f.From.Ifindex), Protocol: tpacket.Htons(f.From.Protocol), Hatype: f.From.Hatype, PacketType: uint8(f.From.Pkttype)})
		if n == 0 {
			return nil
		}
		keep = min(keep, int(min(n, math.MaxInt32)))
	}
	direction := capfile.Inbound
	if f.From.Pkttype == tpacket.PacketOutgoing {
		direction = capfile.Outbound
	}
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	if err := a.c.sendExtrasLocked(); err != nil {
		return err
	}
	a.c.packets.Add(1)
	return a.c.w.WriteCommented(a.in.id, max(f.Sec*1e9+f.Nsec, 0), length, a.buffer[:min(len(a.buffer), keep)], direction, f.Comment())
}

// report writes the device's statistics if packets were dropped since the last report, or if
// it is the last one. In that, packets that are left in the ring are dropped ones.
func (a *deviceCapture) report(last bool) error {
	a.checked = time.Now()
	st, _ := a.handle.Stats() // with an error, the last known
	if last {
		st.Drops = st.Packets - a.read
	}
	if st.Drops == a.dropped && !last {
		return nil
	}
	dropped := st.Drops - a.dropped
	a.c.dropped.Add(dropped)
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	a.in.received += st.Packets - a.received
	a.in.dropped += dropped
	a.received, a.dropped = st.Packets, st.Drops
	return a.c.writeStatsLocked(a.in, "")
}
