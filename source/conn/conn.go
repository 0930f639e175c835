package conn

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"github.com/rxring/rxring"
)

// Config configures the device that Add makes. Only Name must be set.
type Config struct {
	Name         string         // of the device
	MTU          int            // as rxring.DeviceConfig has it; 0: 1500
	HardwareAddr [6]byte        // zero: one that no device of the namespace has
	Prefixes     []netip.Prefix // the host's addresses on the machine's network, if it has any

	// Send writes what packet sockets send through the device to the connection, between
	// the frames that its user writes. It costs a goroutine, and a lock around each Write.
	// Frames that wait when the connection is closed are lost, as in a card's queue; so is a
	// datagram that cannot be written, which the next one's sender is told (ENOBUFS).
	// Without Send, what is sent is shown to the other sockets and discarded.
	Send bool
}

// Add adds an Ethernet device to ns and returns conn with its frames delivered to it, framed
// as f. Close closes conn and removes the device.
func Add(ns *rxring.Namespace, conn net.Conn, f Framing, c Config) (net.Conn, error) {
	tap, err := ns.AddDevice(rxring.DeviceConfig{Name: c.Name, MTU: c.MTU, HardwareAddr: c.HardwareAddr, Prefixes: c.Prefixes})
	if err != nil {
		return nil, fmt.Errorf("conn: %w", err)
	}
	w := wrap(conn, tap, f)
	w.owned = tap
	if c.Send {
		return newSending(w), nil
	}
	return w, nil
}

// Wrap returns conn with its frames delivered to tap, framed as f. Close does not remove tap. What
// packet sockets send through tap is not written to conn, as it is with [Config].Send.
func Wrap(conn net.Conn, tap *rxring.Device, f Framing) net.Conn { return wrap(conn, tap, f) }

func wrap(conn net.Conn, tap *rxring.Device, f Framing) *wrapped {
	return &wrapped{Conn: conn, read: newStream(tap, f, false), written: newStream(tap, f, true)}
}

// wrapped is a connection whose frames are delivered to a device.
type wrapped struct {
	net.Conn
	read, written *stream
	owned         *rxring.Device // that Close removes; nil: none
	removing      sync.Once
}

func (w *wrapped) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.read.feed(b[:n])
	return n, err
}

// Write delivers the frames that end in b before it writes them: an answer is delivered
// after what it answers.
func (w *wrapped) Write(b []byte) (int, error) {
	w.written.feed(b)
	n, err := w.Conn.Write(b)
	w.written.wrote(b, n)
	return n, err
}

func (w *wrapped) Close() error {
	w.removing.Do(func() {
		if w.owned != nil {
			w.owned.Namespace().RemoveDevice(w.owned) // an error means that it was removed before
		}
	})
	return w.Conn.Close()
}

// ReadWriter returns rw with its packets delivered to tap: a packet in each Read and in each
// Write, behind the link-layer header that tap's type has.
//
// readsOutgoing reports that rw is a TUN or TAP device of this host, from which a program
// reads what the host sends. Otherwise what is read is incoming, as in Wrap. Packets that packet
// sockets send are not written to rw; [rxring.Device.SetTransmit] can do that where a Write is
// a packet.
func ReadWriter(rw io.ReadWriteCloser, tap *rxring.Device, readsOutgoing bool) io.ReadWriteCloser {
	return &readWriter{rw, newStream(tap, Datagram, readsOutgoing), newStream(tap, Datagram, !readsOutgoing)}
}

type readWriter struct {
	io.ReadWriteCloser
	read, written *stream
}

func (r *readWriter) Read(b []byte) (int, error) {
	n, err := r.ReadWriteCloser.Read(b)
	r.read.feed(b[:n])
	return n, err
}

func (r *readWriter) Write(b []byte) (int, error) {
	r.written.feed(b)
	n, err := r.ReadWriteCloser.Write(b)
	r.written.wrote(b, n)
	return n, err
}
