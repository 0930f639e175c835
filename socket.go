package rxring

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
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

// ErrNoRing is the error of calls that need a receive ring on a socket that has
// none. It unwraps to EINVAL.
var ErrNoRing = explain.Errorf(syscall.EINVAL, "packet socket has no receive ring, set one first")

// Socket is a packet socket: what socket(AF_PACKET, ...) gives on Linux. Its
// errors unwrap to the errno that Linux returns in the same place.
//
// All methods may be called concurrently, with each other and with deliveries.
type Socket struct {
	ns  *Namespace
	typ SockType

	// Read by writers for every packet.
	rx       atomic.Pointer[receiver] // never nil
	protocol atomic.Uint32            // 16 bits, host byte order
	ifindex  atomic.Int32             // 0: every device
	counters ring.Counters
	notify   ring.Notify
	queue    queue
	meter    meter        // used if there is an Account
	err      atomic.Int32 // pending errno (sk_err)

	unheld atomic.Bool // see SetHeld

	tx   atomic.Pointer[sender] // never nil; read by who sends
	out  atomic.Pointer[Device] // bound to: see setDevice
	sent atomic.Uint64          // frames
	txMu sync.Mutex             // held by who sends from the transmit ring; taken before mu

	mu           sync.Mutex
	closed       bool
	version      tpacket.Version
	reserve      uint32
	vnetLen      uint32 // PACKET_VNET_HDR_SZ
	kernelOwned  bool
	fillHash     bool        // V3: TP_FT_REQ_FILL_RXHASH
	freezes      uint32      // of rings before this one, not yet reported
	ring         ring.Buffer // nil: none
	txRing       *ring.TxRing
	ringBudget   *Budget              // that ring's memory is taken from
	txBudget     *Budget              // and txRing's
	mapped       func(memfd int) bool // nil: nobody maps rings
	private      bool                 // rings to come lie in private memory: see KeepRingsPrivate
	filter       *cbpf.Filter
	filterCharge Charge
	program      []cbpf.Instruction // the filter's
	filterLocked bool
	flags        map[option]int32
	stamp        int // SO_TIMESTAMP or another of its kind, 0: none
	rcvtimeo     timeout
	sndtimeo     timeout
	group        *group    // of fanout, nil: none; to be written, Namespace.mu is held, too
	grant        *granted  // nil: everything; to be written, Namespace.mu is held, too
	rollover     *rollover // not nil: the group rolls over

	// Namespace.mu guards these.
	hooked      bool    // devices deliver to it (po->running)
	device      *Device // that it is bound to, nil: none
	memberships []joined

	since atomic.Uint64 // the Moment of its binding; pairs with the load in boundAt
}

// Socket makes a packet socket for one protocol, in host byte order:
// [tpacket.ETHPAll] for everything, 0 for nothing until Bind. It sees all
// devices of the namespace until Bind names one.
func (ns *Namespace) Socket(t SockType, protocol uint16) (*Socket, error) {
	return ns.SocketFor(nil, t, protocol)
}

// do runs f with the options locked, unless the socket is closed, and names the
// operation in its error.
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

// publish makes the options take effect on what is received and sent. s.mu is
// held, or nobody else knows s yet.
func (s *Socket) publish() {
	rx := &receiver{
		epoch:          s.queue.epoch.Load(),
		filter:         s.filter,
		fillHash:       s.fillHash,
		version:        s.version,
		dgram:          s.typ == SockDgram,
		ignoreOutgoing: s.flags[option{tpacket.SolPacket, tpacket.OptIgnoreOutgoing}] != 0 && s.group == nil,
	}
	switch b := s.ring.(type) {
	case *ring.Ring:
		rx.ring, rx.frameSize = b, b.Geometry().FrameSize
		rx.copyWhole = s.flags[option{tpacket.SolPacket, tpacket.OptCopyThresh}] != 0
	case *ring.Blocks:
		rx.blocks, rx.frameSize = b, b.MaxFrame()
	default:
		rx.frameSize = math.MaxUint32 // the queue has no frames
	}
	if s.ring != nil {
		rx.reserve, rx.vnetLen = s.reserve, s.vnetLen
		rx.bare = tpacket.RawOffsets(s.version, 0, s.reserve, s.vnetLen)
		rx.framed = tpacket.RawOffsets(s.version, etherLen, s.reserve, s.vnetLen)
		if rx.dgram {
			rx.bare = tpacket.DgramOffsets(s.version, s.reserve)
			rx.framed = rx.bare
		}
	}
	rx.budget = s.budget()
	own := *rx
	if s.grant.bounds() {
		rx.grant, rx.own = s.grant, &own
	}
	if s.group == nil && s.grant.account() != nil {
		rx.account, rx.own = s.grant.account(), &own
	}
	s.meter.reset()
	s.rx.Store(rx) // pairs with the load in receive
	s.publishSender()
}

// Type is the socket's type.
func (s *Socket) Type() SockType { return s.typ }

// SetVersion chooses the format of the ring to come (PACKET_VERSION): EBUSY
// when there is a ring already.
func (s *Socket) SetVersion(v tpacket.Version) error {
	return s.do("set PACKET_VERSION", func() error {
		if v > tpacket.V3 {
			return explain.Errorf(syscall.EINVAL, "%v: want V1, V2 or V3", v)
		}
		if s.hasRing() {
			return explain.Errorf(syscall.EBUSY, "%v: the socket has a ring already", v)
		}
		s.version = v
		s.publish()
		return nil
	})
}

// SetReserve asks for n bytes of headroom before each packet in the ring to
// come (PACKET_RESERVE): EBUSY when there is a ring already.
func (s *Socket) SetReserve(n uint32) error {
	return s.do("set PACKET_RESERVE", func() error {
		if n > math.MaxInt32 {
			return explain.Errorf(syscall.EINVAL, "%d: want at most %d bytes", n, math.MaxInt32)
		}
		if s.hasRing() {
			return explain.Errorf(syscall.EBUSY, "%d: the socket has a ring already", n)
		}
		s.reserve = n
		s.publish()
		return nil
	})
}

// hasRing says whether the socket has a ring of either kind. s.mu is held.
func (s *Socket) hasRing() bool { return s.ring != nil || s.txRing != nil }

// SetRxRing gives the socket a receive ring, or takes it away when r.BlockNr is
// 0 (PACKET_RX_RING). On a V3 socket it is [Socket.SetRxRing3] with all else 0.
// See [tpacket.Layout] for what is refused; ENOMEM when the namespace's memory
// bound or the socket's [Budget] would be passed; EBUSY when there is a ring already, and while it is
// mapped (see SetMapped).
func (s *Socket) SetRxRing(r tpacket.Req) error { return s.SetRxRing3(tpacket.Req3{Req: r}) }

// SetRxRing3 is SetRxRing with what a V3 ring can be asked for beside its shape:
// after how many milliseconds a block goes to the reader though it is not full
// (0: 8), how much of each block is the reader's own, and
// [tpacket.FeatureFillRxhash]. V1 and V2 sockets look at the shape only.
func (s *Socket) SetRxRing3(r tpacket.Req3) error {
	return s.do("set PACKET_RX_RING", func() error {
		if s.isMapped() {
			return errMapped
		}
		if r.BlockNr == 0 {
			if err := r.Teardown(); err != nil {
				return err
			}
			return s.replaceRing(nil)
		}
		if s.ring != nil {
			return explain.Errorf(syscall.EBUSY, "the socket has a ring already, take it away first")
		}
		g, err := tpacket.Layout(s.version, r, s.reserve, os.Getpagesize())
		if err != nil {
			return err
		}
		var fresh ring.Buffer
		budget := s.budget()
		if s.version == tpacket.V3 {
			fresh, err = s.newBlocks(g, r)
		} else {
			fresh, err = s.newRing(g)
		}
		if err != nil {
			return err
		}
		err = s.replaceRing(fresh)
		s.ringBudget = budget
		return err
	})
}

func (s *Socket) newRing(g tpacket.Geometry) (ring.Buffer, error) {
	d := ring.DefaultDesign
	if s.kernelOwned {
		d = ring.KernelOwned
	}
	return newRing(s, g, func(m *ring.Memory) (ring.Buffer, error) { return ring.NewDesign(m, g, d) })
}

// defaultRetire is Linux's for devices that do not say how fast they are
// (DEFAULT_PRB_RETIRE_TOV).
const defaultRetire = 8 * time.Millisecond

func (s *Socket) newBlocks(g tpacket.Geometry, r tpacket.Req3) (ring.Buffer, error) {
	if s.kernelOwned {
		return nil, explain.Errorf(syscall.EINVAL, "kernel-owned: V3 rings have no slots to mark, ask for V1 or V2")
	}
	s.fillHash = r.FeatureReqWord&tpacket.FeatureFillRxhash != 0
	c := ring.BlocksConfig{
		SizeofPriv: r.SizeofPriv,
		Retire:     time.Duration(r.RetireBlkTov) * time.Millisecond,
		Losing:     s.counters.Losing,
		Wake:       s.notify.Wake,
	}
	if c.Retire == 0 {
		c.Retire = defaultRetire
	}
	return newRing(s, g, func(m *ring.Memory) (ring.Buffer, error) { return ring.NewBlocks(m, g, c) })
}

// SetMapped has the socket ask f whether anybody has a ring's memory mapped, by
// its memfd, see [ring.Memory.FD]. Until nobody has, PACKET_RX_RING and
// PACKET_TX_RING are EBUSY whatever they ask for. Without it nobody has. f must not
// call methods of the socket.
func (s *Socket) SetMapped(f func(memfd int) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mapped = f
}

// isMapped says whether anybody has a ring mapped. s.mu is held.
func (s *Socket) isMapped() bool {
	return s.mapped != nil && slices.ContainsFunc(s.memories(), func(m *ring.Memory) bool { return s.mapped(m.FD()) })
}

var errMapped = explain.Errorf(syscall.EBUSY, "the socket's memory is mapped, unmap it first")

// SetKernelOwned has the ring to come mark the slots that writers fill with
// [ring.StatusKernelOwned], in shared memory, as the commit that fixed Linux's
// ring proposes: EBUSY when there is a ring already.
//
// Only a reader that knows the status may have it, such as [ring.Reader]. All
// others take it for a packet, and read what is still being written; and the
// ring then relies on its reader to be lawful. So it is Go code's to ask for,
// and no socket option: no interposed program can switch it on.
func (s *Socket) SetKernelOwned(on bool) error {
	return s.do("set kernel-owned", func() error {
		if s.ring != nil {
			return explain.Errorf(syscall.EBUSY, "the socket has a ring already")
		}
		s.kernelOwned = on
		return nil
	})
}

// replaceRing publishes r, nil for none, and frees the ring before it.
func (s *Socket) replaceRing(r ring.Buffer) error {
	old := s.ring
	s.ring = r
	s.queue.purge(s.ns)
	s.publish()
	s.ns.relink(s)
	var err error
	if old != nil {
		err = s.ns.freeRing(old, s.ringBudget) // no slot can be acquired in it from here on
	}
	if b, ok := old.(*ring.Blocks); ok {
		s.freezes += b.FreezeCount()
	}
	s.counters.Attach(r)
	s.notify.Wake()
	return err
}

// Ring is the socket's receive ring, nil when it has none: a [ring.Ring] on a V1
// or V2 socket, a [ring.Blocks] on a V3 one.
func (s *Socket) Ring() ring.Buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ring
}

// NewReader returns the reader of the socket's ring, for a program that reads
// in the same process. A ring has one reader.
func (s *Socket) NewReader() (*ring.Reader, error) {
	r := s.Ring()
	if r == nil {
		return nil, ErrNoRing
	}
	return ring.NewReader(r, &s.notify), nil
}

// AttachFilter replaces the socket's filter (SO_ATTACH_FILTER): EINVAL for a
// program that Linux refuses, or [cbpf.CompileBounded] if the socket has an [Account]; EPERM
// once the filter is locked.
func (s *Socket) AttachFilter(prog []cbpf.Instruction) error {
	f, err := s.compile(prog)
	return s.do("set SO_ATTACH_FILTER", func() error {
		if s.filterLocked {
			return errFilterLocked
		}
		if err != nil {
			return err
		}
		if err := s.filterCharge.Replace(s.budget(), filterCost(len(prog))); err != nil {
			return fmt.Errorf("filter of %d instructions: %w", len(prog), err)
		}
		s.filter, s.program = f, slices.Clone(prog)
		s.publish()
		s.ns.refiltered(s)
		return nil
	})
}

// compile is for a program that is to run for the socket.
func (s *Socket) compile(prog []cbpf.Instruction) (*cbpf.Filter, error) {
	s.mu.Lock()
	of := s.grant.account()
	s.mu.Unlock()
	if of != nil {
		return cbpf.CompileBounded(prog)
	}
	return cbpf.Compile(prog)
}

// DetachFilter removes the filter (SO_DETACH_FILTER): ENOENT when there is
// none, EPERM once it is locked.
func (s *Socket) DetachFilter() error {
	return s.do("set SO_DETACH_FILTER", func() error {
		if s.filterLocked {
			return errFilterLocked
		}
		if s.filter == nil {
			return explain.Errorf(syscall.ENOENT, "no filter is attached")
		}
		s.filter, s.program = nil, nil
		s.filterCharge.Release()
		s.publish()
		s.ns.refiltered(s)
		return nil
	})
}

// GetFilter is SO_GET_FILTER, which is SO_ATTACH_FILTER's number to getsockopt: n
// is how many instructions the filter has, 0 without one, and prog is them, if
// there is room for so many; with room for none, only n is asked for. EINVAL when
// there is too little room.
func (s *Socket) GetFilter(room int) (prog []cbpf.Instruction, n int, err error) {
	err = s.do("get SO_GET_FILTER", func() error {
		n = len(s.program)
		switch {
		case n == 0 || room == 0:
			return nil
		case room < n:
			return explain.Errorf(syscall.EINVAL, "room for %d instructions: want at least %d", room, n)
		}
		prog = slices.Clone(s.program)
		return nil
	})
	if err != nil {
		n = 0
	}
	return prog, n, err
}

// LockFilter makes the filter, or its absence, permanent (SO_LOCK_FILTER).
func (s *Socket) LockFilter() error { return s.lockFilter(true) }

// lockFilter follows Linux: once locked, a lock cannot be taken off.
func (s *Socket) lockFilter(lock bool) error {
	return s.do("set SO_LOCK_FILTER", func() error {
		if s.filterLocked && !lock {
			return errFilterLocked
		}
		s.filterLocked = lock
		return nil
	})
}

var errFilterLocked = explain.Errorf(syscall.EPERM, "the socket's filter is locked")

// Statistics returns and clears the socket's counts (PACKET_STATISTICS).
// Packets includes Drops, and neither includes what the filter refused. Drops are
// those of all reasons, with what was lost before the device until now. Only V3 rings
// freeze.
func (s *Socket) Statistics() tpacket.Stats3 {
	s.reportLost()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statistics()
}

func (s *Socket) statistics() tpacket.Stats3 {
	packets, drops := s.counters.Statistics()
	st := tpacket.Stats3{Packets: uint32(packets), Drops: uint32(drops), FreezeQCount: s.freezes}
	s.freezes = 0
	if b, ok := s.ring.(*ring.Blocks); ok {
		st.FreezeQCount += b.FreezeCount()
	}
	return st
}

// Totals is what became of every packet offered since the socket was made. It
// stays available after Close.
func (s *Socket) Totals() ring.Totals {
	s.reportLost()
	return s.counters.Totals()
}

// Readable is what poll reports as POLLIN: a packet is in the queue, or the ring
// has one.
func (s *Socket) Readable() bool {
	s.mu.Lock()
	r, ro := s.ring, s.rollover
	s.mu.Unlock()
	if ro != nil {
		ro.relieve(s, 0)
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

// Events is what poll reports. What it says of sending is no business of
// rxring's.
func (s *Socket) Events() (e Events) {
	if s.Readable() {
		e |= EventIn
	}
	if s.err.Load() != 0 {
		e |= EventErr
		s.mu.Lock()
		if s.flags[option{solSocket, soSelectErrQueue}] != 0 {
			e |= EventPri
		}
		s.mu.Unlock()
	}
	return e
}

// Arm asks for one Wake when there is news for a poller, after which Events must
// be asked again; see [ring.Notify].
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
	s.ns.exit(s)
	s.ns.leave(s)
	s.filterCharge.Release()
	err := errors.Join(s.replaceRing(nil), s.replaceTxRing(nil))
	s.queue.purge(s.ns) // and no receiver is published for the new one: writers under way leave nothing
	if err != nil && !errors.Is(err, syscall.EBADF) {
		return os.NewSyscallError("close", err)
	}
	return nil
}
