package capture

import (
	"errors"
	"fmt"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// OpenDevice captures the packets of a device of a namespace in this program. When the device goes
// down, or is removed, one read that would wait returns ENETDOWN; reading continues, with what the
// ring still has, too.
func OpenDevice(d *rxring.Device, c Config) (*Handle, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.setSnaplen(uint16(d.Type()), d.MaxLen())
	h, err := openNamespace(d.Namespace(), d.Index(), &c)
	if err != nil {
		return nil, fmt.Errorf("capture: device %s: %w", d.Name(), err)
	}
	h.hatype = uint16(d.Type())
	return h, nil
}

// OpenNamespace captures the packets of all devices of a namespace in this program, also of
// those that are added later.
func OpenNamespace(ns *rxring.Namespace, c Config) (*Handle, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.setSnaplen(0, 0)
	h, err := openNamespace(ns, 0, &c)
	if err != nil {
		return nil, fmt.Errorf("capture: device any: %w", err)
	}
	return h, nil
}

func openNamespace(ns *rxring.Namespace, ifindex int, c *Config) (*Handle, error) {
	typ := rxring.SockRaw
	if c.Cooked {
		typ = rxring.SockDgram
	}
	s, err := ns.SocketFor(c.Grant, typ, 0)
	if err != nil {
		return nil, err
	}
	h := &Handle{socket: &deviceSocket{s: s}, snaplen: c.Snaplen}
	if err := h.setUp(ifindex, c); err != nil {
		s.Close()
		return nil, err
	}
	return h, nil
}

// deviceSocket is a socket of a namespace.
type deviceSocket struct {
	s *rxring.Socket
	errorSleeper
}

func (d *deviceSocket) setsockopt(opt int, val []byte) error {
	return d.s.Setsockopt(tpacket.SolPacket, opt, val)
}

func (d *deviceSocket) getsockopt(opt int, val []byte) error {
	_, err := d.s.Getsockopt(tpacket.SolPacket, opt, val)
	return err
}

func (d *deviceSocket) setFilter(prog []cbpf.Instruction) error {
	return d.s.AttachFilter(prog)
}

func (d *deviceSocket) bind(ifindex int, protocol uint16) error {
	return d.s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(ifindex), Protocol: tpacket.Htons(protocol)})
}

func (d *deviceSocket) reader(g tpacket.Geometry) (*ring.Reader, error) {
	b := d.s.Ring()
	d.Sleeper = notify.NewSleeper(d.s, func() error {
		if b.Closed() {
			return ErrClosed
		}
		if d.pending == nil && d.s.Events()&rxring.EventErr == 0 {
			return nil
		}
		return d.take(d.soError)
	})
	return ring.NewReader(b.Memory(), g, d)
}

// soError reads and clears SO_ERROR, which is ENETDOWN after the socket's device went down.
func (d *deviceSocket) soError(val []byte) error {
	_, err := d.s.Getsockopt(tpacket.SolSocket, tpacket.SoError, val)
	if errors.Is(err, rxring.ErrClosed) {
		return ErrClosed
	}
	return err
}

func (d *deviceSocket) statistics() (tpacket.Stats3, error) { return d.s.Statistics(), nil }

func (d *deviceSocket) drops() ring.Drops { return d.s.Totals().Drops }

func (d *deviceSocket) close() error {
	if err := d.s.Close(); !errors.Is(err, rxring.ErrClosed) {
		return err
	}
	return ErrClosed
}
