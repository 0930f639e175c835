package rxring

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/tpacket"
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

// SetTxRing gives the socket a transmit ring, or takes it away when r.BlockNr is 0
// (PACKET_TX_RING). From then on a program sends by filling frames, in order,
// with the status TP_STATUS_SEND_REQUEST, and calling Send: it sends all that are
// due, returns how many bytes that were, and hands the frames back. What cannot
// be sent is handed back as TP_STATUS_WRONG_FORMAT and ends the call with its
// error, or is skipped with PACKET_LOSS.
//
// EINVAL for a shape that [tpacket.Layout] refuses, ENOMEM when the namespace's
// memory bound or the socket's [Budget] would be passed, EPERM when its [Grant] says
// NoSend, EBUSY when there is a transmit ring already, and while a ring is mapped
// (see SetMapped). A V3 socket's frames have equal sizes here,
// too.
func (s *Socket) SetTxRing(r tpacket.Req) error { return s.setTxRing3(tpacket.Req3{Req: r}) }

// setTxRing3 refuses what only a V3 receive ring can be asked for, last.
func (s *Socket) setTxRing3(r tpacket.Req3) error {
	s.txMu.Lock() // before mu: a send holds it for long
	defer s.txMu.Unlock()
	return s.do("set PACKET_TX_RING", func() error {
		if s.isMappedLocked() {
			return errMapped
		}
		if r.BlockNr == 0 {
			if err := r.Teardown(); err != nil {
				return err
			}
			return s.replaceTxRingLocked(nil)
		}
		if s.txRing != nil {
			return explain.Errorf(syscall.EBUSY, "the socket has a transmit ring already, take it away first")
		}
		g, err := tpacket.Layout(s.version, tpacket.Req3{Req: r.Req}, s.reserve, os.Getpagesize())
		if err != nil {
			return err
		}
		if r.RetireBlkTov != 0 || r.SizeofPriv != 0 || r.FeatureReqWord != 0 {
			return fmt.Errorf("timeout %d, private area %d, features %#x: want 0: %w",
				r.RetireBlkTov, r.SizeofPriv, r.FeatureReqWord, syscall.EINVAL)
		}
		if s.grant != nil && s.grant.NoSend {
			return errNoSend
		}
		budget := s.budgetLocked()
		fresh, err := newRingLocked(s, g, func(m *ringmem.Memory) (*writer.TxRing, error) { return writer.NewTx(m, g) })
		if err != nil {
			return err
		}
		err = s.replaceTxRingLocked(fresh)
		s.txBudget = budget
		return err
	})
}

// replaceTxRingLocked publishes r, nil for none, and frees the ring before it.
func (s *Socket) replaceTxRingLocked(r *writer.TxRing) error {
	old := s.txRing
	s.txRing = r
	s.publishTxLocked()
	s.ns.relink(s) // in Linux the socket is unhooked meanwhile, whichever ring is set
	if old == nil {
		return nil
	}
	return s.ns.freeRing(old, s.txBudget)
}

// TxRing is the socket's transmit ring, nil when it has none.
func (s *Socket) TxRing() *writer.TxRing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.txRing
}

// setTxRing takes a struct tpacket_req, or a struct tpacket_req3 on a V3 socket.
func (s *Socket) setTxRing(val []byte) error {
	r, err := s.ringRequest(val)
	if err != nil {
		return err
	}
	return s.setTxRing3(r)
}

// sendRing sends the frames that are due in the transmit ring, in the order of
// tpacket_snd (net/packet/af_packet.c).
//
// Linux continues while there are any. Here a call ends after one lap, so that a program
// that fills frames faster than they are sent cannot occupy the goroutine that serves it;
// all frames that were due when the call was made have been sent by then.
func (s *Socket) sendRing(to *tpacket.SockaddrLL) (n int, err error) {
	s.txMu.Lock()
	defer s.txMu.Unlock()
	tx := s.tx.Load()
	if tx.ring == nil {
		return 0, explain.Errorf(syscall.EBUSY, "the transmit ring was taken away")
	}
	d, protocol, err := s.route(tx, to)
	if err != nil {
		return 0, err
	}
	out := outgoings.Get().(*outgoing)
	defer out.put()
	r := tx.ring
	for range r.Geometry().FrameNr {
		if !r.Requested() {
			break
		}
		slot, err := tx.parseSlot(d)
		if err == nil {
			if err := s.sockError(); err != nil {
				if n > 0 {
					return n, nil // as in Linux, which forgets it
				}
				return 0, err // the next call tries again
			}
			err = out.fillSlot(tx, d, &slot, protocol, to)
		}
		if err != nil {
			if !tx.loss {
				r.SetStatus(tpacket.StatusWrongFormat)
				return 0, err
			}
			r.SetStatus(tpacket.StatusAvailable)
			r.Advance()
			continue
		}
		r.SetStatus(tpacket.StatusSending)
		if err := out.transmit(tx, d, s); err != nil {
			r.SetStatus(tpacket.StatusSendRequest) // the next call tries again
			if errors.Is(err, syscall.EAGAIN) {
				return n, err
			}
			return 0, err
		}
		r.SetStatus(tpacket.StatusAvailable)
		r.Advance()
		n += len(slot.data)
	}
	return n, nil
}

// txSlot is what the header of a frame says that is to be sent.
type txSlot struct {
	data    []byte // in shared memory
	at      int    // where it starts in the ring
	offload vnetHeader
}

// parseSlot checks the headers of the ring's head frame, as tpacket_parse_header
// and packet_snd_vnet_parse do. The frame is shared memory: everything in it is
// read once.
func (tx *txOptions) parseSlot(d *Device) (slot txSlot, err error) {
	shared := tx.ring.Frame()
	h := tpacket.ReadTxHeader(tx.version, shared)
	most := len(shared) - tx.version.TxOffset()
	if tx.vnetLen == 0 {
		most = min(most, d.MTU()+d.headerLen(tx)+vlanLen)
	}
	n := int(int32(h.Len)) // as Linux keeps it
	at, err := tx.locate(h, n, most, len(shared))
	if err != nil {
		return slot, err
	}
	slot = txSlot{data: shared[at : at+n], at: tx.ring.Offset() + at}
	if tx.vnetLen == 0 {
		return slot, nil
	}
	if n < tx.vnetLen {
		return slot, badVnet("frame of %d bytes: want the header, %d, at least", n, tx.vnetLen)
	}
	var head [sizeofVnetMrg]byte
	copy(head[:], slot.data[:tx.vnetLen]) // read once
	slot.data = slot.data[tx.vnetLen:]
	slot.at += tx.vnetLen
	slot.offload, err = parseVnet(head[:tx.vnetLen], len(slot.data))
	return slot, err
}

// fillSlot copies the packet out of shared memory, and makes of it what sockets
// and the device's owner see (tpacket_fill_skb).
func (o *outgoing) fillSlot(tx *txOptions, d *Device, slot *txSlot, protocol uint16, to *tpacket.SockaddrLL) error {
	n, header := len(slot.data), 0
	switch {
	case !tx.dgram:
	case d.ethernet():
		header = etherLen
	default:
		if err := d.checkDgram(); err != nil {
			return err
		}
	}
	if cap(o.buf) < header+n {
		o.buf = make([]byte, header+n)
	}
	frame := o.buf[:header+n]
	if header > 0 {
		if err := d.header(frame, n, protocol, to); err != nil {
			return err
		}
	}
	copy(frame[header:], slot.data) // from here on it is private
	o.buf = frame
	head := max(slot.offload.headerLen(), int(d.maclen))
	if err := d.checkFrame(tx, frame, tx.vnetLen > 0); err != nil {
		return err
	}
	if err := inPages(slot.at, n, head-header); err != nil {
		return err
	}
	return o.fill(tx, d, frame, protocol, slot.offload, head)
}

// locate says where in a frame of size bytes the packet of n bytes is.
func (tx *txOptions) locate(h tpacket.TxHeader, n, most, size int) (at int, err error) {
	if tx.version == tpacket.V3 && h.Next != 0 {
		return 0, explain.Errorf(syscall.EINVAL, "tp_next_offset %d: want 0", h.Next)
	}
	if n > most {
		return 0, tooLong(n, most)
	}
	at = tx.version.TxOffset()
	if tx.hasOffsets {
		first := at
		if at = int(h.Mac); tx.dgram {
			at = int(h.Net)
		}
		if at < first || at > size-n {
			return 0, explain.Errorf(syscall.EINVAL, "packet of %d bytes at offset %d: want it between %d and %d", n, at, first, size)
		}
	}
	if n < 0 { // Linux returns the length where it has an errno otherwise
		return 0, explain.Errorf(syscall.Errno(-n), "tp_len %d", h.Len)
	}
	return at, nil
}

// maxPages is how many pages of its ring Linux makes a packet of
// (MAX_SKB_FRAGS).
const maxPages = 17

// inPages refuses a packet of n bytes, at offset at of its ring, that lies in
// more pages than that, less its first head bytes, which Linux copies.
func inPages(at, n, head int) error {
	at, n = at+min(head, n), n-min(head, n)
	page := os.Getpagesize()
	if n > 0 && (at+n-1)/page-at/page >= maxPages {
		return explain.Errorf(syscall.EFAULT, "packet in more than %d pages", maxPages)
	}
	return nil
}
