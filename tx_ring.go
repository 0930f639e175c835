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
