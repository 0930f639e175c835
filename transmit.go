package rxring

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// TransmitFunc gets a frame that a packet socket sends through a device: the wire
// behind it. The frame lies in p.Data in one piece, link-layer header first; its
// checksum and size may be left to the device (p.Checksum, p.GSO). Sockets that
// look have seen it by then.
//
// It is called in the call that sends, by several goroutines at once. p and its
// bytes are the caller's again when it returns: who needs them longer copies them.
// It must not block: who runs a program's packet sockets serves nobody else
// meanwhile. It may deliver packets, an answer say, to this device and others. A
// socket that sends from a transmit ring is locked meanwhile: its rings cannot be
// set, nor can it send.
//
// An error means that the frame was not sent. It reaches the sender with the errno
// that it unwraps to, ENOBUFS when there is none and in place of EAGAIN, which only
// [Device.SetTransmitReady] can say: the frame has been seen.
type TransmitFunc func(p *Packet) error

// SetTransmit has f get what packet sockets send through the device from now on,
// instead of the function before it, which may still be at it. With nil, as at
// first, frames are seen by the attached sockets and go nowhere; those sent through
// a Loopback device are delivered to it.
func (d *Device) SetTransmit(f TransmitFunc) { d.setTransmit(f, false) }

// SetTransmitFirst is SetTransmit, but f gets frames before sockets see them: one that f
// returns an error for is seen by none. It is for a wire that may refuse a frame. An answer
// that comes back meanwhile, on another goroutine, may be seen before the frame is.
func (d *Device) SetTransmitFirst(f TransmitFunc) { d.setTransmit(f, true) }

// transmitHook is a device's transmit function; first: sockets see a frame after it.
type transmitHook struct {
	send  TransmitFunc
	first bool
}

func (d *Device) setTransmit(f TransmitFunc, first bool) {
	if f == nil {
		d.transmit.Store(nil)
		return
	}
	d.transmit.Store(&transmitHook{f, first}) // pairs with the load in outgoing.transmitOne
}

// SetTransmitReady has f decide, before sockets see a frame, whether the device can
// send it; once for a large segment that is divided. An error refuses the frame: it reaches the sender as an error of
// SetTransmit's function does, but no socket has seen the frame. EAGAIN means that the
// device has no room now: the sender may try again, and a program
// whose socket blocks waits for room (package interpose). The rules for f are those of [TransmitFunc]; nil, as at first,
// refuses nothing.
func (d *Device) SetTransmitReady(f TransmitFunc) {
	if f == nil {
		d.ready.Store(nil)
		return
	}
	d.ready.Store(&f) // pairs with the load in outgoing.transmitOne
}

// transmit has the packet leave, or the packets that it is divided into, if the device is
// ready. Where the device's owner refuses one, those before it have left.
func (o *outgoing) transmit(tx *txOptions, d *Device, s *Socket) error {
	if ready := d.ready.Load(); ready != nil { // pairs with the store in SetTransmitReady
		if err := (*ready)(&o.packet); err != nil {
			return d.transmitError(err)
		}
	}
	if !o.split.Divides() {
		return o.transmitOne(tx, d, s)
	}
	whole := o.packet
	for piece := range o.split.Packets(whole.Data) {
		o.packet, o.meta = whole, packetMeta{}
		o.packet.Data = piece
		o.meta.initOutgoing(d, &o.packet, o.proto)
		if err := o.transmitOne(tx, d, s); err != nil {
			return err
		}
	}
	return nil
}

// transmitOne offers one packet to the sockets that look, but for who sent it, and
// hands it to the device's owner; in the other order where the owner wants that.
func (o *outgoing) transmitOne(tx *txOptions, d *Device, s *Socket) error {
	t := d.transmit.Load() // pairs with the store in setTransmit
	if t != nil && t.first {
		if o.meta.timestamp == 0 && d.HasListeners() {
			o.meta.readClock() // now: an answer may have come when it is shown
		}
		if err := d.callTransmit(t, &o.packet); err != nil {
			return err
		}
		o.deliverOutgoing(tx, d, s)
		s.sent.Add(1)
		return nil
	}
	o.deliverOutgoing(tx, d, s)
	if t != nil {
		if err := d.callTransmit(t, &o.packet); err != nil {
			return err
		}
	} else if d.typ == Loopback { // loopback_xmit (drivers/net/loopback.c)
		o.packet.Outgoing = false
		d.Deliver(&o.packet)
		o.packet.Outgoing = true // also the next piece of a segment that is divided
	}
	s.sent.Add(1)
	return nil
}

// deliverOutgoing offers the packet to the sockets that look.
func (o *outgoing) deliverOutgoing(tx *txOptions, d *Device, s *Socket) {
	p, meta := &o.packet, &o.meta
	taps := d.taps.Load()
	if taps == nil {
		return
	}
	d.traffic.count(p, meta.length)
	if tx.bypass {
		return
	}
	for _, t := range *taps {
		switch {
		case t.group != nil:
			if t.group != tx.group {
				t.group.deliver(p, meta)
			}
		case t.socket != s && t.socket.wants(p, meta):
			t.socket.receive(p, meta)
		}
	}
}

// callTransmit hands a packet to the device's owner.
func (d *Device) callTransmit(t *transmitHook, p *Packet) error {
	err := t.send(p)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EAGAIN): // sockets may have seen it, or pieces before it have left: it must not be sent again
		err = explain.Errorf(syscall.ENOBUFS, "%v", err)
	}
	return d.transmitError(err)
}

// transmitError is the sender's error for a frame that the device did not send.
func (d *Device) transmitError(err error) error {
	if errno := syscall.Errno(0); !errors.As(err, &errno) {
		return explain.Errorf(syscall.ENOBUFS, "device %s: %w", d.name, err)
	}
	return fmt.Errorf("device %s: %w", d.name, err)
}
