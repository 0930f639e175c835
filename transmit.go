package rxring

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// TransmitFunc transmits a frame that a packet socket sends through a device. The frame is
// in p.Data in one piece, link-layer header first; its checksum and segmentation may be
// left to the device (p.Checksum, p.GSO). The attached sockets have received it by then.
//
// It is called within the sending call, by several goroutines at once. p and its bytes
// belong to the caller again when it returns; an implementation that needs them longer must
// copy them. It must not block: an interposer serves no other socket meanwhile. It may
// deliver packets, such as an answer, to this device and others. A socket that sends from a
// transmit ring is locked meanwhile: its rings cannot be set, nor can it send.
//
// An error means that the frame was not sent. The sender gets the errno that it unwraps to;
// ENOBUFS if there is none, and in place of EAGAIN, which only [Device.SetTransmitReady] may
// return: sockets have received the frame already.
type TransmitFunc func(p *Packet) error

// SetTransmit sets the function that transmits what packet sockets send through the device. A
// call of the one before it may still be running. With nil, the initial value, frames are
// delivered to the attached sockets and then discarded; those sent through a Loopback device
// are delivered to it.
func (d *Device) SetTransmit(f TransmitFunc) { d.setTransmit(f, false) }

// SetTransmitFirst is SetTransmit, but f is called before sockets receive a frame: if it
// returns an error, none does. Links that may refuse a frame need it. An answer that arrives
// meanwhile, on another goroutine, may be received before the frame.
func (d *Device) SetTransmitFirst(f TransmitFunc) { d.setTransmit(f, true) }

// transmitHook is a device's transmit function; with first, it runs before sockets receive a
// frame.
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

// SetTransmitReady sets a function that decides, before sockets receive a frame, whether the
// device can send it; it is called once for a large segment that is divided. An error refuses
// the frame and is returned to the sender as SetTransmit's is. EAGAIN means that the device
// has no room now: the sender may try again, and a program whose socket blocks waits for room
// (package interpose). f must follow the rules of [TransmitFunc]; nil, the initial value,
// refuses nothing.
func (d *Device) SetTransmitReady(f TransmitFunc) {
	if f == nil {
		d.ready.Store(nil)
		return
	}
	d.ready.Store(&f) // pairs with the load in outgoing.transmit
}

// transmit sends the packet, or the packets that it is divided into, if the device is ready.
// If the transmit function refuses one, those before it have been sent.
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

// transmitOne delivers one packet to the attached sockets, except the sender, and calls the
// device's transmit function; in the other order for SetTransmitFirst.
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

// deliverOutgoing offers the packet to the attached sockets (dev_queue_xmit_nit).
func (o *outgoing) deliverOutgoing(tx *txOptions, d *Device, s *Socket) {
	p, meta := &o.packet, &o.meta
	taps := d.taps.Load()
	if taps == nil {
		return
	}
	d.traffic.of(p).add(1, uint64(meta.length))
	if tx.bypass {
		return
	}
	for _, t := range *taps {
		switch {
		case t.group != nil:
			if t.group != tx.group {
				t.receive(p, meta)
			}
		case t.socket != s && t.socket.wants(p, meta):
			t.socket.receive(p, meta)
		}
	}
}

// callTransmit calls the device's transmit function.
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

// transmitError returns the sender's error for a frame that the device did not send.
func (d *Device) transmitError(err error) error {
	if errno := syscall.Errno(0); !errors.As(err, &errno) {
		return explain.Errorf(syscall.ENOBUFS, "device %s: %w", d.name, err)
	}
	return fmt.Errorf("device %s: %w", d.name, err)
}
