package packetconn

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// socket is a packet socket without a ring, in this process or another one.
type socket interface {
	notify.Armer
	Bind(tpacket.SockaddrLL) error
	AttachFilter([]cbpf.Instruction) error
	Setsockopt(level, name int, val []byte) error
	Recv([]byte, rxring.RecvFlags) (rxring.Message, error)
	SendTo([]byte, *tpacket.SockaddrLL) (int, error)
	Totals() ring.Totals
	Close() error
}

var (
	_ socket         = (*rxring.Socket)(nil)
	_ socket         = (*attach.Socket)(nil)
	_ net.PacketConn = (*Conn)(nil)
)

// Conn is a packet socket that blocks. Its methods may be called concurrently. Errors are of
// type [net.OpError], and wrap an errno, [os.ErrDeadlineExceeded], or, after Close,
// [net.ErrClosed].
type Conn struct {
	socket   socket
	addr     Addr
	ifindex  int32
	protocol uint16 // host byte order

	readMu        sync.Mutex // held by ReadFrom: the sleeper has room for one goroutine
	sleeper       ring.Sleeper
	readDeadline  deadline
	writeDeadline deadline
}

// ReadFrom waits for the next packet and copies it to b; a longer one is truncated. The address
// is an [*Addr], the sender's. ENETDOWN is returned once when the device has gone down, or was
// removed.
func (c *Conn) ReadFrom(b []byte) (n int, from net.Addr, err error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	var (
		m        rxring.Message
		received bool
	)
	receive := func() bool {
		if !received {
			m, err = c.socket.Recv(b, 0)
			received = !errors.Is(err, syscall.EAGAIN)
		}
		return received
	}
	if c.readDeadline.passed() {
		return 0, nil, c.opError("read", nil, os.ErrDeadlineExceeded)
	}
	if sleepErr := c.sleeper.Sleep(context.Background(), receive); sleepErr != nil {
		err = sleepErr
	}
	if err != nil {
		return 0, nil, c.opError("read", nil, err)
	}
	return m.N, &Addr{append(net.HardwareAddr(nil), m.From.Addr[:min(int(m.From.Halen), len(m.From.Addr))]...)}, nil
}

// retryInterval is the time between attempts to send through a device that has no room.
const retryInterval = time.Millisecond

// WriteTo sends a packet through the device, to an [*Addr] or another address whose String is a
// hardware address. The link-layer header of a Datagram Conn is made from it; otherwise it may
// be nil, as the packet has that header. While the device has no room, WriteTo waits.
func (c *Conn) WriteTo(b []byte, to net.Addr) (n int, err error) {
	addr, err := c.sockaddr(to)
	for err == nil {
		if c.writeDeadline.passed() {
			err = os.ErrDeadlineExceeded
			break
		}
		if n, err = c.socket.SendTo(b, addr); !errors.Is(err, syscall.EAGAIN) {
			break
		}
		err = nil
		time.Sleep(retryInterval)
	}
	if err != nil {
		return 0, c.opError("write", to, err)
	}
	return n, nil
}

// Close closes the socket. Calls in progress return [net.ErrClosed].
func (c *Conn) Close() error {
	if err := c.socket.Close(); err != nil {
		return c.opError("close", nil, err)
	}
	return nil
}

// LocalAddr returns the device's hardware address, an [*Addr].
func (c *Conn) LocalAddr() net.Addr { return &c.addr }

// SetDeadline sets the deadlines of reads and writes, also of those in progress. The zero time
// means none.
func (c *Conn) SetDeadline(t time.Time) error {
	c.writeDeadline.set(t)
	return c.SetReadDeadline(t)
}

// SetReadDeadline is SetDeadline for reads.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readDeadline.set(t)
	return c.sleeper.SetDeadline(t)
}

// SetWriteDeadline is SetDeadline for writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeDeadline.set(t)
	return nil
}

// soDetachFilter is SO_DETACH_FILTER (asm-generic/socket.h).
const soDetachFilter = 27

// SetBPF replaces the filter; nil accepts every packet of the protocol. Packets that the
// previous filter accepted stay in the queue. [cbpf.From] converts the RawInstructions of
// golang.org/x/net/bpf.
func (c *Conn) SetBPF(filter []cbpf.Instruction) error {
	var err error
	if filter != nil {
		err = c.socket.AttachFilter(filter)
	} else if err = c.socket.Setsockopt(tpacket.SolSocket, soDetachFilter, make([]byte, 4)); errors.Is(err, syscall.ENOENT) {
		err = nil // there was none
	}
	if err != nil {
		return c.opError("set", nil, err)
	}
	return nil
}

// Totals returns how many packets were offered to the socket, and what became of them: packets
// that arrive while the queue is full are dropped. SO_RCVBUF bounds it, 212992 bytes as Linux
// counts them.
func (c *Conn) Totals() ring.Totals { return c.socket.Totals() }

func (c *Conn) opError(op string, to net.Addr, err error) error {
	if errors.Is(err, rxring.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: network, Source: &c.addr, Addr: to, Err: err}
}

// deadline is the time from which calls fail; the zero value is none.
type deadline struct{ at atomic.Pointer[time.Time] }

func (d *deadline) set(t time.Time) { d.at.Store(&t) }

func (d *deadline) passed() bool {
	t := d.at.Load()
	return t != nil && !t.IsZero() && !time.Now().Before(*t)
}
