package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/maxlen"
	"github.com/rxring/rxring/internal/shortcall"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Open captures the packets of a live interface; the name "" means all interfaces. It
// needs CAP_NET_RAW in the network namespace of the calling thread.
func Open(name string, c Config) (*Handle, error) {
	if err := errors.Join(c.noGrant(), c.check()); err != nil {
		return nil, err
	}
	typ := unix.SOCK_RAW
	if c.Cooked {
		typ = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_PACKET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, explain.Errorf(err, "capture: a packet socket needs CAP_NET_RAW")
		}
		return nil, fmt.Errorf("capture: packet socket: %w", err)
	}
	s := &kernelSocket{file: os.NewFile(uintptr(fd), "packet socket")}
	h := &Handle{socket: s}
	if err = s.open(fd, name, h, &c); err != nil {
		s.close()
		if name == "" {
			name = "any"
		}
		return nil, fmt.Errorf("capture: interface %s: %w", name, err)
	}
	return h, nil
}

// kernelSocket is a packet socket of the kernel.
type kernelSocket struct {
	file   *os.File // uses the runtime's poller
	raw    syscall.RawConn
	memory ring.Memory
	closed atomic.Bool

	mu       sync.Mutex
	deadline time.Time
}

func (s *kernelSocket) open(fd int, name string, h *Handle, c *Config) (err error) {
	if s.raw, err = s.file.SyscallConn(); err != nil {
		return err
	}
	index := 0
	if name != "" {
		if index, h.hatype, err = identify(fd, name); err != nil {
			return err
		}
		if c.Snaplen == 0 {
			longest, err := maxlen.Of(name)
			if err != nil {
				return err
			}
			c.setSnaplen(h.hatype, longest)
		}
	}
	c.setSnaplen(0, 0)
	h.snaplen = c.Snaplen
	return h.setUp(index, c)
}

// identify returns the index and the hardware type of an interface.
func identify(fd int, name string) (index int, hatype uint16, err error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, 0, suggest.NoInterface(name, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r); err != nil {
		return 0, 0, suggest.NoInterface(name, err)
	}
	index = int(r.Uint32())
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, r); err != nil {
		return 0, 0, err
	}
	return index, r.Uint16(), nil // ifr_hwaddr.sa_family
}

func (s *kernelSocket) setsockopt(opt int, val []byte) error {
	return s.control(func(fd int) error { return unix.SetsockoptString(fd, unix.SOL_PACKET, opt, string(val)) })
}

func (s *kernelSocket) getsockopt(opt int, val []byte) error {
	return s.control(func(fd int) error { return getsockopt(fd, unix.SOL_PACKET, opt, val) })
}

func getsockopt(fd, level, opt int, val []byte) error {
	return os.NewSyscallError("getsockopt", shortcall.Getsockopt(fd, level, opt, val))
}

func (s *kernelSocket) setFilter(prog []cbpf.Instruction) error {
	return s.control(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, cbpf.SockFprog(prog))
	})
}

func (s *kernelSocket) bind(ifindex int, protocol uint16) error {
	return s.control(func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: tpacket.Htons(protocol), Ifindex: ifindex})
	})
}

func (s *kernelSocket) reader(g tpacket.Geometry) (*ring.Reader, error) {
	err := s.control(func(fd int) (err error) {
		s.memory, err = ring.MapMemory(fd, g.Size())
		return err
	})
	if err != nil {
		return nil, err
	}
	return ring.NewReader(s.memory, g, s)
}

// control calls f with the descriptor, which stays open during the call.
func (s *kernelSocket) control(f func(fd int) error) error {
	var err error
	if err2 := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); err2 != nil {
		return s.orClosed(err2)
	}
	return err
}

func (s *kernelSocket) syscallConn() syscall.RawConn { return s.raw }

// orClosed returns err, or ErrClosed instead of an error of a closed socket: the runtime's
// own error for that is not exported.
func (s *kernelSocket) orClosed(err error) error {
	if err != nil && s.closed.Load() {
		return ErrClosed
	}
	return err
}

func (s *kernelSocket) statistics() (st tpacket.Stats3, err error) {
	err = s.getsockopt(unix.PACKET_STATISTICS, tpacket.Bytes(&st))
	return st, err
}

func (s *kernelSocket) drops() ring.Drops { return ring.Drops{} }

// Sleep implements [ring.Sleeper]. It waits in the runtime's poller, which the kernel
// notifies of each new packet or block.
func (s *kernelSocket) Sleep(ctx context.Context, ready func() bool) error {
	if ctx.Done() != nil {
		defer s.interruptOn(ctx)()
	}
	var err error
	err2 := s.raw.Read(func(fd uintptr) bool {
		if ready() {
			return true
		}
		err = socketError(int(fd))
		return err != nil
	})
	switch {
	case ctx.Err() != nil && errors.Is(err2, os.ErrDeadlineExceeded):
		return ctx.Err()
	case err2 != nil:
		return s.orClosed(err2)
	}
	return err
}

// socketError reads and clears SO_ERROR, which is ENETDOWN after the socket's device went
// down.
func socketError(fd int) error {
	var val [4]byte
	err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_ERROR, val[:])
	if errno := binary.NativeEndian.Uint32(val[:]); err == nil && errno != 0 {
		err = fmt.Errorf("packet socket: %w", syscall.Errno(errno))
	}
	return err
}

// interruptOn ends a wait when ctx is done, by setting the file's read deadline to the
// past. The function that it returns undoes that.
func (s *kernelSocket) interruptOn(ctx context.Context) (stop func()) {
	var stopped, interrupted bool
	stopCtx := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !stopped {
			interrupted = true
			s.file.SetReadDeadline(time.Unix(1, 0))
		}
	})
	return func() {
		stopCtx()
		s.mu.Lock()
		defer s.mu.Unlock()
		if stopped = true; interrupted {
			s.file.SetReadDeadline(s.deadline)
		}
	}
}

// SetDeadline implements [ring.Sleeper].
func (s *kernelSocket) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	return s.orClosed(s.file.SetReadDeadline(t))
}

func (s *kernelSocket) close() error {
	if s.closed.Swap(true) {
		return ErrClosed
	}
	err := s.file.Close() // wakes a waiting reader
	if s.memory != nil {
		err = errors.Join(err, s.memory.Close())
	}
	return err
}
