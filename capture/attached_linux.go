package capture

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// OpenAttached captures the packets of a device of another process's namespace; the name
// "" means all devices. The reader gets them from memory that both processes have mapped,
// and makes system calls only to sleep.
//
// When the device goes down, one read returns ENETDOWN; reading continues when the device
// is up again. When c's connection ends, reads first return what is still in the ring and
// then the reason, which is also an ENETDOWN. The ring's owner may take its memory back at
// any time, and does so when it ends in good order; see [ring.Frame.Intact]. Closing the
// handle leaves c open.
func OpenAttached(c *attach.Client, device string, cfg Config) (*Handle, error) {
	if err := errors.Join(cfg.noGrant(), cfg.check()); err != nil {
		return nil, err
	}
	h, err := openAttached(c, device, &cfg)
	if err != nil {
		if device == "" {
			device = "any"
		}
		return nil, fmt.Errorf("capture: device %s: %w", device, err)
	}
	return h, nil
}

func openAttached(c *attach.Client, device string, cfg *Config) (*Handle, error) {
	h := new(Handle)
	index := 0
	if device != "" {
		d, ok := c.Namespace().DeviceByName(device)
		if !ok {
			return nil, explain.Errorf(syscall.ENODEV, "there is no such device: %s", suggest.Among(device, names(c.Namespace())))
		}
		index, h.hatype = d.Index(), uint16(d.Type())
		cfg.setSnaplen(h.hatype, d.MaxLen())
	}
	cfg.setSnaplen(0, 0)
	h.snaplen = cfg.Snaplen
	typ := rxring.SockRaw
	if cfg.Cooked {
		typ = rxring.SockDgram
	}
	s, err := c.Socket(typ, 0)
	if err != nil {
		return nil, err
	}
	a := &attachedSocket{client: c, s: s}
	h.socket = a
	if err := h.setUp(index, cfg); err != nil {
		a.close()
		return nil, err
	}
	return h, nil
}

func names(ns *rxring.Namespace) (all []string) {
	for _, d := range ns.Devices() {
		all = append(all, d.Name())
	}
	return all
}

// attachedSocket is a socket of a namespace in another process.
type attachedSocket struct {
	client *attach.Client
	s      *attach.Socket
	memory ring.Memory
	closed atomic.Bool

	errorSleeper
	events rxring.Events // at the time of Arm
}

func (a *attachedSocket) setsockopt(opt int, val []byte) error {
	return a.s.Setsockopt(tpacket.SolPacket, opt, val)
}

func (a *attachedSocket) getsockopt(opt int, val []byte) error {
	_, err := a.s.Getsockopt(tpacket.SolPacket, opt, val)
	return a.orClosed(err)
}

func (a *attachedSocket) setFilter(prog []cbpf.Instruction) error {
	return a.orClosed(a.s.AttachFilter(prog))
}

func (a *attachedSocket) bind(ifindex int, protocol uint16) error {
	return a.s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(ifindex), Protocol: tpacket.Htons(protocol)})
}

func (a *attachedSocket) reader(g tpacket.Geometry) (*ring.Reader, error) {
	fd, err := a.s.Map(g.Size())
	if err != nil {
		return nil, err
	}
	if a.memory, err = ring.MapMemory(fd, g.Size()); err != nil {
		return nil, err
	}
	if err := a.s.Mapped(); err != nil {
		return nil, err
	}
	a.Sleeper = notify.NewSleeper(a, a.interrupted)
	return ring.NewReader(a.memory, g, a)
}

// Arm implements [notify.Armer].
func (a *attachedSocket) Arm(w ring.Waker) { a.events, _, _ = a.s.Poll(w) }

// Disarm implements [notify.Armer].
func (a *attachedSocket) Disarm(w ring.Waker) { a.s.Disarm(w) }

// interrupted returns why Sleep is to end without a packet, according to what Arm has found; nil
// if it is to wait.
func (a *attachedSocket) interrupted() error {
	if a.closed.Load() {
		return ErrClosed
	}
	if err := a.detached(); err != nil {
		return err
	}
	if a.pending == nil && a.events&rxring.EventErr == 0 {
		return nil
	}
	return a.take(a.soError)
}

// soError reads and clears SO_ERROR, which is ENETDOWN after the socket's device went down.
func (a *attachedSocket) soError(val []byte) error {
	_, err := a.s.Getsockopt(tpacket.SolSocket, tpacket.SoError, val)
	return a.orClosed(err)
}

// memoryError returns why the ring's memory is no longer available. Its owner may take it
// back before the connection ends.
func (a *attachedSocket) memoryError() error {
	if a.closed.Load() {
		return ErrClosed
	}
	if err := a.detached(); err != nil {
		return err
	}
	return errTakenBack
}

// detached returns why the connection has ended, nil while it has not.
func (a *attachedSocket) detached() error {
	err := a.client.Err()
	if err == nil || errors.Is(err, syscall.ENETDOWN) {
		return err
	}
	return explain.Errorf(syscall.ENETDOWN, "%w", err)
}

var errTakenBack = explain.Errorf(syscall.ENETDOWN, "the ring's owner has taken back its memory")

func (a *attachedSocket) statistics() (s tpacket.Stats3, err error) {
	err = a.getsockopt(tpacket.OptStatistics, tpacket.Bytes(&s))
	return s, err
}

func (a *attachedSocket) drops() ring.Drops { return a.s.Totals().Drops }

// orClosed returns err, or ErrClosed instead of an error of a closed socket.
func (a *attachedSocket) orClosed(err error) error {
	if err != nil && a.closed.Load() {
		return ErrClosed
	}
	return err
}

func (a *attachedSocket) close() error {
	if a.closed.Swap(true) {
		return ErrClosed
	}
	err := a.s.Close() // wakes a waiting reader
	if a.memory != nil {
		err = errors.Join(err, a.memory.Close())
	}
	return err
}
