package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
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

// OpenAttached captures what passes a device of another process's namespace, of
// which name "" means all. The packets come through memory that both processes have
// mapped, without a system call but to sleep.
//
// When the device goes down, reading returns ENETDOWN once, and goes on when it is
// up again. When c's connection ends, reading returns why, also ENETDOWN; before that
// what is still in the ring, unless its owner has taken the memory back, as one does
// that ends in good order. That may be at any time: see [ring.Frame.Intact]. Closing
// the handle leaves c open.
func OpenAttached(c *attach.Client, device string, cfg Config) (*Handle, error) {
	if err := cfg.check(); err != nil {
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
		cfg.fit(h.hatype, d.MaxLen())
	}
	cfg.fit(0, 0)
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

	ring.Sleeper
	events rxring.Events // as Arm found them
	down   error         // taken from the socket, and not returned yet
}

func (a *attachedSocket) setsockopt(opt int, val []byte) error {
	return a.s.Setsockopt(tpacket.SolPacket, opt, val)
}

func (a *attachedSocket) getsockopt(opt int, val []byte) error {
	_, err := a.s.Getsockopt(tpacket.SolPacket, opt, val)
	return a.gone(err)
}

func (a *attachedSocket) setFilter(prog []cbpf.Instruction) error {
	return a.gone(a.s.AttachFilter(prog))
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
	a.Sleeper = notify.NewSleeper(a, a.over)
	return ring.NewReader(a.memory, g, a)
}

// Sleep implements [ring.Sleeper]. One goroutine at a time reads, and so calls
// Sleep, and through it Arm and over.
func (a *attachedSocket) Sleep(ctx context.Context, ready func() bool) error {
	err := a.Sleeper.Sleep(ctx, ready)
	if err == a.down {
		a.down = nil
	}
	return err
}

// Arm implements [notify.Armer].
func (a *attachedSocket) Arm(w ring.Waker) { a.events, _, _ = a.s.Poll(w) }

// Disarm implements [notify.Armer].
func (a *attachedSocket) Disarm(w ring.Waker) { a.s.Disarm(w) }

// over says why nothing more will come, by what Arm has found.
func (a *attachedSocket) over() error {
	if a.closed.Load() {
		return ErrClosed
	}
	if err := a.detached(); err != nil {
		return err
	}
	if a.down == nil && a.events&rxring.EventErr != 0 {
		a.down = a.takeError()
	}
	return a.down
}

// takeError is what has happened to the socket, as to one whose device went down.
func (a *attachedSocket) takeError() error {
	var b [4]byte
	if _, err := a.s.Getsockopt(tpacket.SolSocket, tpacket.SoError, b[:]); err != nil {
		return a.gone(err)
	}
	if errno := syscall.Errno(binary.NativeEndian.Uint32(b[:])); errno != 0 {
		return os.NewSyscallError("packet socket", errno)
	}
	return nil // somebody else has it
}

// vanished is for a ring that was taken away before the connection ended.
func (a *attachedSocket) vanished() error {
	if a.closed.Load() {
		return ErrClosed
	}
	if err := a.detached(); err != nil {
		return err
	}
	return errTakenBack
}

// detached is why the connection has ended, nil while it has not.
func (a *attachedSocket) detached() error {
	err := a.client.Err()
	if err == nil || errors.Is(err, syscall.ENETDOWN) {
		return err
	}
	return explain.Errorf(syscall.ENETDOWN, "%w", err)
}

var errTakenBack = explain.Errorf(syscall.ENETDOWN, "its owner has taken the ring back")

func (a *attachedSocket) statistics() (s tpacket.Stats3, err error) {
	err = a.getsockopt(tpacket.OptStatistics, tpacket.Bytes(&s))
	return s, err
}

func (a *attachedSocket) drops() ring.Drops { return a.s.Totals().Drops }

// gone is err, or ErrClosed once a is.
func (a *attachedSocket) gone(err error) error {
	if err != nil && a.closed.Load() {
		return ErrClosed
	}
	return err
}

func (a *attachedSocket) close() error {
	if a.closed.Swap(true) {
		return ErrClosed
	}
	err := a.s.Close() // wakes who waits
	if a.memory != nil {
		err = errors.Join(err, a.memory.Close())
	}
	return err
}
