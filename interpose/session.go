//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/rtnl"
)

// maxSockets bounds the packet sockets that are open at a time: each costs this
// process two descriptors, and its ring's memory a third.
const maxSockets = 256

// session serves one program and its descendants. Two goroutines do: receive waits
// for trapped calls, serve for all else. mu guards all of it, and is held while a
// call is handled; only a socket's waker is called without.
type session struct {
	mu sync.Mutex

	cfg  *Config
	ns   *rxring.Namespace // to look devices up
	open opener            // makes packet sockets
	l    *listener
	root int // the launcher: everything below it is the program's
	stop int // eventfd

	interrupts  *bell // rung for each value of Config.Interrupt
	interrupted bool  // SIGINT was sent

	sockets []*socket // open ones, oldest first
	byInode map[uint64]*socket
	byMemfd map[file]*socket

	swaps      swaps
	packet     []byte // the one that a receive call is to get
	frame      []byte // the one that a send call sends
	parked     []*receiving
	sends      []*sending // that wait for room
	news       *bell      // rung when a packet came to a socket that a call is parked on, or one without a ring
	pairs      pairs
	lost       map[uint32]lostReply
	hit        map[uint32]time.Time // by thread: when a signal was seen to end a call of it
	unfilled   []fill               // by the call that is being handled: nobody waited for it any more
	bus        *rtnl.Bus
	rtnls      map[uint64]*rtnlSocket          // by inode
	ears       map[*rxring.Device]packetSocket // have a device be promiscuous
	swept      time.Time
	searches   sync.WaitGroup // those on a goroutine of their own, one at a time
	glanced    time.Time
	searching  bool
	searched   time.Time     // when the last one ended
	searchTook time.Duration // and how long it took
	searchSaw  int           // how many descriptors the last one looked at
	killable   bool          // calls that were received are not interrupted: see interruptParked
	looked     time.Time     // for signals

	sleeps  int // milliseconds that serve polls for; below 0: until something comes
	waiting int // calls that waited when serve began its poll

	holding    bool      // a socket holds a frame that was written
	triedSends time.Time // those that wait for room
	missing    []string

	// Of processes that may not be inspected: see record.go.
	recording bool            // the filter traps what records depend on
	records   map[int]*record // by process
	users     map[int]ids     // by thread: as whom it may be inspected
	numbers   map[int32]bool  // where a socket of ours has been, in any process
	noVM      bool            // process_vm_readv is denied
	keepEnds  bool            // we keep duplicates of rtnetlink sockets' ends: pidfd_getfd may be denied
	saidBlind bool

	reports []*SocketReport
	omitted int
}

func newSession(cfg *Config, l *listener, root int) (*session, error) {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("interpose: eventfd: %w", err)
	}
	news, err := newBell()
	if err != nil {
		unix.Close(stop)
		return nil, fmt.Errorf("interpose: eventfd: %w", err)
	}
	interrupts, err := newBell()
	if err != nil {
		unix.Close(stop)
		news.close()
		return nil, fmt.Errorf("interpose: eventfd: %w", err)
	}
	pairs, err := newPairs()
	if err != nil {
		unix.Close(stop)
		news.close()
		interrupts.close()
		return nil, fmt.Errorf("interpose: epoll: %w", err)
	}
	s := &session{
		packet: make([]byte, 1<<16),
		frame:  make([]byte, usualFrame),
		news:   news,
		pairs:  pairs,
		cfg:    cfg,
		ns:     cfg.namespace(),
		open:   cfg.opener(),
		l:      l,
		root:   root,
		stop:   stop,

		interrupts: interrupts,

		killable: l.killable,
		byInode:  make(map[uint64]*socket),
		byMemfd:  make(map[file]*socket),
		swaps:    swaps{seen: make(map[uint32]uint64)},
		lost:     make(map[uint32]lostReply),
		hit:      make(map[uint32]time.Time),
		rtnls:    make(map[uint64]*rtnlSocket),
		ears:     make(map[*rxring.Device]packetSocket),

		recording: cfg.traps().Records,
		records:   make(map[int]*record),
		users:     make(map[int]ids),
		numbers:   make(map[int32]bool),
		noVM:      vmDenied(),
		keepEnds:  cfg.traps().Records || getfdDenied(),
	}
	s.bus = rtnl.NewBus(s.ns, s.flags)
	return s, nil
}

// detached says whether the sockets were another process's that is gone.
func (s *session) detached() bool { return s.cfg.At != nil && s.cfg.At.Err() != nil }

// serve answers notifications until the eventfd says stop.
func (s *session) serve() {
	var receiving sync.WaitGroup
	defer func() {
		receiving.Wait()
		s.searches.Wait() // receive may begin one
	}()
	if s.l.wakes {
		receiving.Go(s.receive)
	}
	// No signal handler of this process runs on this thread, so no ioctl here
	// is interrupted half-way. The thread ends with the goroutine.
	runtime.LockOSThread()
	maskSignals()
	fds := []unix.PollFd{
		{Fd: int32(s.stop), Events: unix.POLLIN},
		{Fd: int32(s.l.fd), Events: unix.POLLIN},
		{Fd: int32(s.news.fd), Events: unix.POLLIN},
		{Fd: int32(s.pairs.fd), Events: unix.POLLIN},
		{Fd: int32(s.interrupts.fd), Events: unix.POLLIN},
	}
	if s.l.wakes {
		fds[1].Fd = -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.sleeps, s.waiting = s.tick(), s.waitingCalls()
		s.mu.Unlock()
		_, err := unix.Poll(fds, s.sleeps)
		s.mu.Lock()
		if err != nil && err != unix.EINTR {
			s.cfg.logf("seccomp listener: poll: %v", err)
			return
		}
		if fds[0].Revents != 0 {
			return
		}
		if fds[1].Revents&unix.POLLIN != 0 {
			if n, err := s.l.receive(); err == nil {
				s.answer(&n, s.handle(&n))
			}
		} else if fds[1].Revents != 0 {
			fds[1].Fd = -1 // POLLHUP: the last process under the filter is gone
		}
		if fds[2].Revents != 0 {
			s.news.silence()
			s.resume() // first: a packet is whose who waits for it
			s.arrived()
		}
		if fds[3].Revents != 0 {
			s.pairs.attend(s)
		}
		if fds[4].Revents != 0 {
			s.interrupt()
		}
	}
}

// close ends what is left when serve has returned.
func (s *session) close() {
	for _, r := range s.parked {
		s.l.send(response{ID: r.ID, Error: -int32(unix.EBADF)})
	}
	for _, w := range s.sends {
		s.l.send(response{ID: w.ID, Error: -int32(unix.EBADF)})
	}
	for _, k := range slices.Clone(s.sockets) {
		s.forget(k)
	}
	for _, ear := range s.ears {
		ear.Close()
	}
	for _, r := range s.rtnls {
		r.close()
	}
	for tgid := range s.records {
		s.forgetRecord(tgid)
	}
	s.news.close()
	s.interrupts.close()
	unix.Close(s.pairs.fd)
	unix.Close(s.stop)
	unix.Close(s.l.fd)
}

// reply is the answer to a notification.
type reply struct {
	kind replyKind
	val  int64
	err  unix.Errno
}

type replyKind uint8

const (
	native replyKind = iota // the kernel runs the call as the program made it
	value                   // the call returns val, or err
	done                    // it has its answer, or gets it later
)

func result(err error) reply {
	if err != nil {
		return reply{kind: value, err: errnoOf(err)}
	}
	return reply{kind: value}
}

// received is the answer to a receive call.
func received(n int64, err error) reply {
	r := result(err)
	r.val = n
	return r
}

func (s *session) answer(n *notification, r reply) {
	resp := response{ID: n.ID}
	switch {
	case r.kind == done:
		return
	case r.kind == native:
		resp.Flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	case r.err != 0:
		resp.Error = -int32(r.err)
	default:
		resp.Val = r.val
	}
	lost := errors.Is(s.l.send(resp), unix.ENOENT)
	if lost {
		s.signalled(n.TID)
	}
	if r.kind == value && (lost || s.doubtful(n)) {
		s.remember(n, r)
	}
}

// call is one notification while it is being handled.
type call struct {
	*notification
	s   *session
	tid int
	mem int // the memory of the thread's process, -1: not opened

	woken bool // the thread has put a descriptor of ours into its table since it made the call

	hidden   bool  // it was not for us to see what is at a descriptor
	hiddenFD int32 // which one
}

func (c *call) int(i int) int32 { return int32(c.Args[i]) }

// valid must be asked between reading what the program holds and acting on it.
func (c *call) valid() bool { return c.s.l.valid(c.ID) }

// handle decides on a notification.
func (s *session) handle(n *notification) reply {
	c := &call{notification: n, s: s, tid: int(n.TID), mem: -1}
	defer c.release()
	s.unfilled = nil // of a call that was answered after all
	return c.unlessHidden(c.serve())
}

// serve serves a call. One that nobody here knows runs natively.
func (c *call) serve() reply {
	s, n := c.s, c.notification
	if n.NR == unix.SYS_SOCKET {
		return c.socketCall()
	}
	if r, ok := c.recorded(); ok {
		return r
	}
	switch {
	case len(s.sockets) > 0:
		s.unswap(c)
	case len(s.rtnls) > 0, n.NR == unix.SYS_IOCTL, opens(n.NR):
	default:
		return reply{}
	}
	if r, ok := c.recall(); ok {
		return r
	}
	switch n.NR {
	case unix.SYS_IOCTL:
		return c.ioctl()
	case unix.SYS_MMAP:
		return c.mmap()
	case unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT, unix.SYS_BIND, unix.SYS_CONNECT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME,
		unix.SYS_SHUTDOWN, unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG,
		unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG:
		k, ok := c.socket(c.int(0))
		if ok && c.valid() {
			return c.onSocket(k)
		}
		if r, ok := c.rtnlSocket(); ok && c.valid() {
			return c.onRTNL(r)
		}
		return reply{}
	case unix.SYS_EPOLL_CTL:
		return c.epollCtl()
	}
	if opens(n.NR) {
		return c.open()
	}
	return c.poll()
}

// onSocket serves the calls whose first argument is a packet socket.
func (c *call) onSocket(k *socket) reply {
	k.sendWritten() // what was written before this call
	if k.failed {
		k.showError(k.rx.Events()) // read or write may have taken it
	}
	switch c.NR {
	case unix.SYS_SETSOCKOPT:
		return c.setsockopt(k)
	case unix.SYS_GETSOCKOPT:
		return c.getsockopt(k)
	case unix.SYS_BIND:
		return c.bind(k)
	case unix.SYS_CONNECT:
		return c.connect()
	case unix.SYS_GETSOCKNAME:
		return c.getsockname(k)
	case unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG:
		return c.recv(k)
	case unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG:
		return c.send(k)
	}
	// The others are what Linux refuses here.
	return reply{kind: value, err: unix.EOPNOTSUPP}
}

// idle says whether nothing is due by the clock.
func (s *session) idle() bool {
	return len(s.sockets) == 0 && len(s.parked) == 0 && len(s.sends) == 0 && !s.bus.Watched() && !(s.keepEnds && len(s.rtnls) > 0)
}

// tick does what is due by the clock and returns how many milliseconds may pass
// until it is due again, -1 for any number.
func (s *session) tick() int {
	if s.idle() {
		return -1
	}
	now, every := time.Now(), s.sweepEvery()
	if now.Sub(s.swept) >= every {
		s.swept = now
		s.forgetParked()
		s.searchApart(true)
		s.announce()
	}
	s.glance(now)
	s.tellMapped(nil)
	s.interruptParked(now)
	next := s.nextDeadline(now)
	if next <= 0 {
		s.resume()
		next = s.nextDeadline(now)
	}
	if s.killable && len(s.parked) > 0 {
		next = min(next, lookForSignals)
	}
	s.resumeSends(now)
	if len(s.sends) > 0 || s.holding {
		next = min(next, trySendsEvery)
	}
	if len(s.swaps.untold) > 0 {
		next = min(next, tellMappedEvery)
	}
	if s.glances(now) {
		next = min(next, glanceInterval-now.Sub(s.glanced))
	}
	return int(min(every-now.Sub(s.swept), next).Milliseconds()) + 1
}

// maskSignals blocks, on this thread, every signal but those that a fault of
// its own raises.
func maskSignals() {
	set := unix.Sigset_t{}
	for i := range set.Val {
		set.Val[i] = ^set.Val[i]
	}
	for _, sig := range []unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP} {
		set.Val[0] &^= 1 << (sig - 1)
	}
	unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil)
}
