package conn

import (
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/rxring/rxring"
)

// Add adds a device to ns and returns c with its frames delivered to it, framed as f. Close
// closes c and removes the device.
func Add(ns *rxring.Namespace, c net.Conn, f Framing, dc rxring.DeviceConfig) (net.Conn, error) {
	tap, err := ns.AddDevice(dc)
	if err != nil {
		return nil, fmt.Errorf("conn: %w", err)
	}
	w := Wrap(c, tap, f).(*wrapped)
	w.owned = tap
	return w, nil
}

// Wrap returns c with its frames delivered to tap, framed as f.
func Wrap(c net.Conn, tap *rxring.Device, f Framing) net.Conn {
	return &wrapped{Conn: c, read: newStream(tap, f, false), written: newStream(tap, f, true)}
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
// reads what the host sends. Otherwise what is read is incoming, as in Wrap.
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
