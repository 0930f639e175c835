package rxring

import "sync/atomic"

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
func (d *Device) SetTransmit(f TransmitFunc) { setTransmitFunc(&d.transmit, f) }

// SetTransmitReady has f decide, before sockets see a frame, whether the device can
// send it; once for a large segment that is divided. An error refuses the frame: it reaches the sender as an error of
// SetTransmit's function does, but no socket has seen the frame. EAGAIN means that the
// device has no room now: the sender may try again, and a program
// whose socket blocks waits for room (package interpose). The rules for f are those of [TransmitFunc]; nil, as at first,
// refuses nothing.
func (d *Device) SetTransmitReady(f TransmitFunc) { setTransmitFunc(&d.ready, f) }

// setTransmitFunc publishes f; it pairs with the loads in outgoing.leave.
func setTransmitFunc(p *atomic.Pointer[TransmitFunc], f TransmitFunc) {
	if f == nil {
		p.Store(nil)
		return
	}
	p.Store(&f)
}
