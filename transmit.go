package rxring

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

// transmitter is a device's transmit function; first: sockets see a frame after it.
type transmitter struct {
	send  TransmitFunc
	first bool
}

func (d *Device) setTransmit(f TransmitFunc, first bool) {
	if f == nil {
		d.transmit.Store(nil)
		return
	}
	d.transmit.Store(&transmitter{f, first}) // pairs with the load in outgoing.transmit
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
	d.ready.Store(&f) // pairs with the load in outgoing.leave
}
