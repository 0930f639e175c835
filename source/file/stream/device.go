package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/size"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
	"github.com/rxring/rxring/source/file/tap"
)

// statsInterval is the least time between reports of drops.
const statsInterval = 500 * time.Millisecond

// deviceCapture sends the packets of a device to a client.
type deviceCapture struct {
	c    *session
	dev  *rxring.Device
	tap  *tap.Tap // nil: there was no memory for its ring
	link capfile.LinkType
	snap int // bytes of each packet that are sent
	in   *streamInterface

	ctx  context.Context // until the session's end, or some time after the device was removed
	stop context.CancelFunc
	gone bool // the device was removed; used by session.run

	taken    uint64    // from the ring, before the session's end
	received uint64    // as reported
	dropped  uint64    // as reported
	checked  time.Time // when drops were last looked at
}

// newCapture returns a capture that is not open.
func (c *session) newCapture(d *rxring.Device) *deviceCapture {
	a := &deviceCapture{c: c, dev: d, snap: cmp.Or(c.request.SnapLen, maxSnapLen)}
	a.link, _ = linktype.OfDevice(d.Type())
	return a
}

// description describes the device in the stream.
func (a *deviceCapture) description() capfile.Interface {
	return capfile.Interface{Name: a.dev.Name(), LinkType: a.link, SnapLen: uint32(a.snap), Filter: a.c.request.Filter}
}

// open opens the ring, with the request's filter and snapshot length.
func (a *deviceCapture) open() error {
	c := a.c
	programs, err := c.programs(a.link)
	if err != nil {
		return err
	}
	a.tap, err = tap.Open(a.dev, tap.Config{Programs: programs, Snaplen: c.request.SnapLen, Promiscuous: true, Buffer: c.s.cfg.Buffer, Grant: &rxring.Grant{Budget: c.s.rings}})
	if invalid := new(cbpf.CheckError); errors.As(err, &invalid) {
		return refusef("program: %v", err)
	}
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

// programs returns the request's filter for a link type; nil: everything.
func (c *session) programs(link capfile.LinkType) ([][]cbpf.Instruction, error) {
	prog, err := c.program(link)
	if prog == nil || err != nil {
		return nil, err
	}
	return [][]cbpf.Instruction{prog}, nil
}

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
	a.tap.Close()
}

// send sends packets until the client leaves, or the device is removed.
func (a *deviceCapture) send() error {
	for {
		if !a.tap.Ready() {
			if err := a.report(false); err != nil {
				return err
			}
			if err := a.c.flush(); err != nil {
				return err
			}
		}
		p, ok, err := a.tap.Next(a.ctx)
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
		a.taken++
		if ok {
			if err := a.write(&p); err != nil {
				return err
			}
		}
		if time.Since(a.checked) >= statsInterval {
			if err := a.report(false); err != nil {
				return err
			}
		}
	}
}

func (a *deviceCapture) write(p *capfile.Packet) error {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	if err := a.c.sendExtrasLocked(); err != nil {
		return err
	}
	a.c.packets.Add(1)
	return a.c.w.WriteCommented(a.in.id, p.Timestamp, p.Len, p.Data, p.Direction, p.Comment)
}

// report writes the device's statistics if packets were dropped since the last report, or if
// it is the last one. In that, packets that are left in the ring are dropped ones.
func (a *deviceCapture) report(last bool) error {
	a.checked = time.Now()
	st := a.tap.Stats()
	drops := st.Dropped + st.Lost
	if last {
		drops = st.Offered - a.taken
	}
	if drops == a.dropped && !last {
		return nil
	}
	dropped := drops - a.dropped
	a.c.dropped.Add(dropped)
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	a.in.received += st.Offered - a.received
	a.in.dropped += dropped
	a.received, a.dropped = st.Offered, drops
	return a.c.writeStatsLocked(a.in, "")
}
