package stream

import (
	"context"
	"errors"
	"math"
	"slices"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
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
	handle *capture.Handle
	link   capfile.LinkType
	cooked bool
	own    *cbpf.Filter // run in this goroutine, on packets in the form of files; nil: none
	snap   int          // bytes of each packet that are sent
	id     int          // of the interface in the stream
	buffer []byte

	read     uint64    // packets from the ring
	start    int64     // nanoseconds since the Unix epoch
	reported uint64    // drops
	checked  time.Time // when drops were last looked at
}

// maxWriterFilter is the most instructions of a client's filter that writers run for each
// packet, as for a source (rxring.Device.Filters). A longer filter, or one with loads that search
// the packet, runs in the client's goroutine: writers and other readers do not pay for it.
const maxWriterFilter = 96

// open opens a capture that has the request's filter and snapshot length.
func (c *session) open(d *rxring.Device) (*deviceCapture, error) {
	a := &deviceCapture{c: c, dev: d, start: time.Now().UnixNano()}
	a.link, a.cooked = linktype.OfDevice(d.Type())
	cfg := capture.Config{Buffer: c.s.cfg.Buffer, Snaplen: c.request.SnapLen, Cooked: a.cooked, Promiscuous: true, Comments: true, IgnoreOutgoing: d.Type() == rxring.Loopback}
	prog, err := c.program(a.link)
	if err != nil {
		return nil, err
	}
	switch {
	case prog == nil:
	case a.cooked || a.link == linktype.CAN || len(prog) > maxWriterFilter || cbpf.Walks(prog) > 0:
		if a.own, err = cbpf.Compile(prog); err != nil {
			return nil, refusef("program: %v", err)
		}
		cfg.Snaplen = 0 // a filter sees whole packets
	default:
		cfg.Filter = prog
	}
	if a.handle, err = capture.OpenDevice(d, cfg); err != nil {
		return nil, err
	}
	if a.snap = a.handle.Snaplen(); c.request.SnapLen > 0 {
		a.snap = min(a.snap, c.request.SnapLen)
	}
	return a, nil
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
	c.mu.Lock()
	var err error
	a.id, err = c.w.AddInterface(capfile.Interface{Name: a.dev.Name(), LinkType: a.link, SnapLen: uint32(a.snap), Filter: c.request.Filter})
	c.mu.Unlock()
	if err != nil {
		a.handle.Close()
		c.cancel(err)
		return
	}
	c.captured.Go(func() {
		defer a.handle.Close()
		if err := a.send(); err != nil {
			c.cancel(err)
		}
		a.report(true)
	})
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
		f, err := a.handle.Next(a.c.ctx)
		switch {
		case a.c.ctx.Err() != nil:
			return context.Cause(a.c.ctx)
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
	a.c.packets.Add(1)
	return a.c.w.WriteCommented(a.id, max(f.Sec*1e9+f.Nsec, 0), length, a.buffer[:min(len(a.buffer), keep)], direction, f.Comment())
}

// report writes the device's statistics if packets were dropped since the last report, or if
// it is the last one. In that, packets that are left in the ring are dropped ones.
func (a *deviceCapture) report(last bool) error {
	a.checked = time.Now()
	st, _ := a.handle.Stats() // with an error, the last known
	if last {
		st.Drops = st.Packets - a.read
	}
	if st.Drops == a.reported && !last {
		return nil
	}
	a.c.dropped.Add(st.Drops - a.reported)
	a.reported = st.Drops
	now := time.Now().UnixNano()
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	return a.c.w.WriteStats(a.id, capfile.Stats{Time: now, Start: a.start, End: now, Received: &st.Packets, Dropped: &st.Drops})
}
