package rxring

import (
	"errors"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// SockType is a packet socket's type (SOCK_*).
type SockType int

const (
	SockDgram SockType = 2 // SOCK_DGRAM: packets start at the network header
	SockRaw   SockType = 3 // SOCK_RAW: packets start at the link-layer header
)

// ErrClosed is returned by calls on a closed socket. It unwraps to EBADF and [os.ErrClosed].
var ErrClosed = explain.Errorf(errors.Join(syscall.EBADF, os.ErrClosed), "packet socket is closed")

// errNoRing is the error of calls that need a receive ring on a socket that has
// none. It unwraps to EINVAL.
var errNoRing = explain.Errorf(syscall.EINVAL, "packet socket has no receive ring, set one first")

// Socket is a packet socket: what socket(AF_PACKET, ...) gives on Linux. Its
// errors unwrap to the errno that Linux returns in the same place.
//
// All methods may be called concurrently, with each other and with deliveries.
type Socket struct {
	ns  *Namespace
	typ SockType

	// Read by writers for every packet.
	rx       atomic.Pointer[rxOptions] // never nil
	protocol atomic.Uint32             // 16 bits, host byte order
	ifindex  atomic.Int32              // 0: every device
	counters writer.Counters
	notify   notify.Notify
	queue    queue
	meter    meter        // used if there is an Account
	err      atomic.Int32 // pending errno (sk_err)

	unheld atomic.Bool // see SetHeld

	tx          atomic.Pointer[txOptions] // never nil
	boundDevice atomic.Pointer[Device]    // see setDeviceLocked
	sent        atomic.Uint64             // frames
	txMu        sync.Mutex                // held while sending from the transmit ring; acquired before mu

	mu            sync.Mutex
	closed        bool
	version       tpacket.Version
	reserve       uint32
	vnetLen       uint32        // PACKET_VNET_HDR_SZ
	fillHash      bool          // V3: TP_FT_REQ_FILL_RXHASH
	freezes       uint32        // of rings before this one, not yet reported
	ring          writer.Buffer // nil: none
	txRing        *writer.TxRing
	ringBudget    *Budget              // charged for ring
	txBudget      *Budget              // charged for txRing
	mapped        func(memfd int) bool // nil: no ring is ever mapped
	private       bool                 // new rings are in private memory: see KeepRingsPrivate
	filter        *cbpf.Filter
	filterCharge  Charge
	program       []cbpf.Instruction // the filter's
	filterLocked  bool
	flags         map[option]int32
	stamp         int // SO_TIMESTAMP or another of its kind, 0: none
	rcvtimeo      timeout
	sndtimeo      timeout
	group         *group         // of fanout, nil: none; writing needs Namespace.mu, too
	grant         *granted       // nil: no restriction; writing needs Namespace.mu, too
	rolloverState *rolloverState // not nil: the group rolls over

	// Namespace.mu guards these.
	running     bool    // devices deliver to it (po->running)
	device      *Device // that it is bound to, nil: none
	memberships []joinedMembership

	boundSince atomic.Uint64 // the Moment of its binding; pairs with the load in boundAt
}

// Socket makes a packet socket for one protocol, in host byte order:
// [tpacket.ETHPAll] for everything, 0 for nothing until Bind. It sees all
// devices of the namespace until Bind names one.
func (ns *Namespace) Socket(t SockType, protocol uint16) (*Socket, error) {
	return ns.SocketFor(nil, t, protocol)
}

// do runs f with the options locked, unless the socket is closed, and adds the operation to
// its error.
func (s *Socket) do(op string, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := ErrClosed
	if !s.closed {
		err = f()
	}
	if err != nil {
		return os.NewSyscallError(op, err)
	}
	return nil
}

// publishLocked publishes the options for receiving and sending.
func (s *Socket) publishLocked() {
	rx := &rxOptions{
		epoch:          s.queue.epoch.Load(),
		filter:         s.filter,
		version:        s.version,
		dgram:          s.typ == SockDgram,
		ignoreOutgoing: s.flags[option{tpacket.SolPacket, tpacket.OptIgnoreOutgoing}] != 0 && s.group == nil,
	}
	switch b := s.ring.(type) {
	case *writer.Ring:
		rx.slots, rx.frameSize = b, b.Geometry().FrameSize
		rx.copyWhole = s.flags[option{tpacket.SolPacket, tpacket.OptCopyThresh}] != 0
	case *writer.Blocks:
		rx.blocks, rx.frameSize = b, b.MaxFrame()
		rx.fillHash = s.fillHash
	default:
		rx.frameSize = math.MaxUint32 // the queue has no frames
	}
	reserve := uint32(0)
	if s.ring != nil {
		reserve, rx.vnetLen = s.reserve, s.vnetLen
		if s.flags[option{tpacket.SolPacket, tpacket.OptComments}] != 0 && !s.grant.limitsBytes() {
			rx.trailers = math.MaxUint32
		}
	}
	rx.net = tpacket.RawOffsets(s.version, 0, reserve, rx.vnetLen).Net
	rx.stampsMore = rx.vnetLen != 0 || rx.fillHash
	rx.setWhole()
	rx.budget = s.budgetLocked()
	own := *rx
	if s.grant.limitsDelivery() {
		rx.grant, rx.unrestricted = s.grant, &own
	}
	if s.group == nil && s.grant.account() != nil {
		rx.account, rx.unrestricted = s.grant.account(), &own
	}
	s.meter.Reset()
	s.rx.Store(rx) // pairs with the writers' loads of Socket.rx
	s.publishTxLocked()
}

// Type is the socket's type.
func (s *Socket) Type() SockType { return s.typ }

// Readable is what poll reports as POLLIN: a packet is in the queue, or the ring
// has one.
func (s *Socket) Readable() bool {
	s.mu.Lock()
	r, ro := s.ring, s.rolloverState
	s.mu.Unlock()
	if ro != nil {
		ro.tryClearPressure(s, 0)
	}
	return s.queue.length.Load() > 0 || r != nil && r.Readable()
}

// Events are what poll reports of a socket, in poll's bits.
type Events uint16

const (
	EventIn  Events = 0x1 // POLLIN: Readable
	EventPri Events = 0x2 // POLLPRI: beside EventErr, with SO_SELECT_ERR_QUEUE
	EventErr Events = 0x8 // POLLERR: an error is pending, for Recv or SO_ERROR to take
)

// Events returns what poll reports, without the bits for sending (POLLOUT).
func (s *Socket) Events() (e Events) {
	if s.Readable() {
		e |= EventIn
	}
	if s.err.Load() != 0 {
		e |= EventErr
		s.mu.Lock()
		if s.flags[option{tpacket.SolSocket, soSelectErrQueue}] != 0 {
			e |= EventPri
		}
		s.mu.Unlock()
	}
	return e
}

// HasEventBesideRing reports whether Events has, or may have, an event that the ring does not
// show: an error, or a packet in the queue. It acquires no lock.
func (s *Socket) HasEventBesideRing() bool { return s.err.Load() != 0 || s.queue.length.Load() > 0 }

// Arm asks for one Wake when there is news for a poller, after which Events must
// be asked again; see [notify.Notify].
func (s *Socket) Arm(w ring.Waker) { s.notify.Arm(w) }

// Disarm takes back an Arm.
func (s *Socket) Disarm(w ring.Waker) { s.notify.Disarm(w) }

// Close ends the socket and gives its rings' memory back. Writers in mid-copy
// are not disturbed; sleepers are woken.
func (s *Socket) Close() error {
	s.reportLost()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return os.NewSyscallError("close", ErrClosed)
	}
	s.closed = true
	s.ns.removeSocket(s)
	s.leaveFanoutLocked()
	s.filterCharge.Release()
	err := errors.Join(s.replaceRingLocked(nil), s.replaceTxRingLocked(nil))
	s.queue.purge(s.ns) // writers in progress leave nothing behind: no options are published for the new epoch
	if err != nil && !errors.Is(err, syscall.EBADF) {
		return os.NewSyscallError("close", err)
	}
	return nil
}

// Namespace.mu is to bindings, memberships and the state of devices what
// rtnl_lock and bind_lock are in Linux.

// Bind binds the socket to a device (Ifindex; 0: all) and a protocol (Protocol,
// network byte order; 0 keeps the one it has), as packet_bind does. On a device
// that is down it gets nothing until the device is up, and ENETDOWN is pending.
//
// Packets that came before Bind go by the old binding, those that come after it by the
// new one, as in Linux. So where a source still holds packets (see [Backlog]), a Bind
// that changes the binding of a socket that gets them waits until they are delivered.
// Those that the source does not deliver in time are counted as [ring.Lost].
func (s *Socket) Bind(a tpacket.SockaddrLL) error {
	s.reportLost()
	s.ns.mark(a.Ifindex)
	left := uint64(0)
	if s.isRunning() && s.changes(a) {
		left = s.flush() // after mark: no packet is between the two
	}
	return s.do("bind", func() error {
		if a.Family != tpacket.AFPacket {
			return explain.Errorf(syscall.EINVAL, "sll_family %d: want AF_PACKET (%d)", a.Family, tpacket.AFPacket)
		}
		if s.group != nil {
			return explain.Errorf(syscall.EINVAL, "the socket is in fanout group %d, which keeps its binding", s.group.config.ID)
		}
		err := s.bindLocked(a.Ifindex, tpacket.Htons(a.Protocol))
		if err == nil && left > 0 {
			s.drop(ring.Lost, left)
		}
		return err
	})
}

// BindDevice binds the socket to d for one protocol, in host byte order; 0
// keeps the one it has.
func (s *Socket) BindDevice(d *Device, protocol uint16) error {
	return s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(d.index), Protocol: tpacket.Htons(protocol)})
}

// bindLocked is packet_do_bind.
func (s *Socket) bindLocked(ifindex int32, protocol uint16) error {
	ns := s.ns
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	var d *Device
	if ifindex != 0 {
		var ok bool
		if d, ok = ns.devices.byIndex[int(ifindex)]; !ok || !s.grant.allowsDevice(ifindex) {
			return explain.Errorf(syscall.ENODEV, "sll_ifindex %d: no such device", ifindex)
		}
	}
	if protocol == 0 {
		protocol = uint16(s.protocol.Load())
	}
	if d == s.device && protocol == uint16(s.protocol.Load()) {
		return nil // also when the device it was bound to is gone, and all devices are asked for
	}
	ns.setRunningLocked(s, false) // no packet meets half a binding
	s.setDeviceLocked(d)
	s.protocol.Store(uint32(protocol))
	s.ifindex.Store(ifindex)
	ns.stampBindLocked(s)
	switch {
	case protocol == 0:
	case d == nil || d.up.Load():
		ns.setRunningLocked(s, true)
	default:
		s.setError(syscall.ENETDOWN)
	}
	return nil
}

// setError sets the socket's pending error and wakes pollers (sk_error_report).
func (s *Socket) setError(errno syscall.Errno) {
	s.err.Store(int32(errno))
	s.notify.Wake()
}

// Addr is the address that the socket is bound to, as getsockname gives it. Its
// Ifindex is -1 when the device has been removed.
func (s *Socket) Addr() tpacket.SockaddrLL {
	s.ns.mu.Lock()
	defer s.ns.mu.UnlockAndNotify()
	a := tpacket.SockaddrLL{
		Family:   tpacket.AFPacket,
		Protocol: tpacket.Htons(uint16(s.protocol.Load())),
		Ifindex:  s.ifindex.Load(),
	}
	if s.device != nil {
		a.Hatype = uint16(s.device.typ)
		if s.device.ethernet() {
			a.Halen = uint8(copy(a.Addr[:], s.device.addr[:]))
		}
	}
	return a
}
