package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/maxlen"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Open captures what passes a live interface, of which name "" means all. It
// needs CAP_NET_RAW in the network namespace of the calling thread.
func Open(name string, c Config) (*Handle, error) {
	if err := c.check(); err != nil {
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
	k := &kernelSocket{file: os.NewFile(uintptr(fd), "packet socket")}
	h := &Handle{socket: k}
	if err = k.open(fd, name, h, &c); err != nil {
		k.close()
		if name == "" {
			name = "any"
		}
		return nil, fmt.Errorf("capture: interface %s: %w", name, err)
	}
	return h, nil
}

// kernelSocket is a socket of the kernel's.
type kernelSocket struct {
	file   *os.File // waits in the runtime's poller
	raw    syscall.RawConn
	memory ring.Memory
	closed atomic.Bool

	mu       sync.Mutex
	deadline time.Time
}

func (k *kernelSocket) open(fd int, name string, h *Handle, c *Config) (err error) {
	if k.raw, err = k.file.SyscallConn(); err != nil {
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
			c.fit(h.hatype, longest)
		}
	}
	c.fit(0, 0)
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

func (k *kernelSocket) setsockopt(opt int, val []byte) error {
	return k.control(func(fd int) error { return unix.SetsockoptString(fd, unix.SOL_PACKET, opt, string(val)) })
}

func (k *kernelSocket) getsockopt(opt int, val []byte) error {
	return k.control(func(fd int) error {
		n := uint32(len(val))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_PACKET, uintptr(opt),
			uintptr(unsafe.Pointer(unsafe.SliceData(val))), uintptr(unsafe.Pointer(&n)), 0)
		if errno != 0 {
			return os.NewSyscallError("getsockopt", errno)
		}
		return nil
	})
}

func (k *kernelSocket) setFilter(prog []cbpf.Instruction) error {
	return k.control(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, cbpf.SockFprog(prog))
	})
}

func (k *kernelSocket) bind(ifindex int, protocol uint16) error {
	return k.control(func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: tpacket.Htons(protocol), Ifindex: ifindex})
	})
}

func (k *kernelSocket) reader(g tpacket.Geometry) (*ring.Reader, error) {
	err := k.control(func(fd int) (err error) {
		k.memory, err = ring.MapMemory(fd, g.Size())
		return err
	})
	if err != nil {
		return nil, err
	}
	return ring.NewReader(k.memory, g, k)
}

// control calls f with the descriptor while it is open.
func (k *kernelSocket) control(f func(fd int) error) error {
	var err error
	if err2 := k.raw.Control(func(fd uintptr) { err = f(int(fd)) }); err2 != nil {
		return k.gone(err2)
	}
	return err
}

func (k *kernelSocket) syscallConn() syscall.RawConn { return k.raw }

// gone is err, or ErrClosed once k is: what the runtime returns then has no name.
func (k *kernelSocket) gone(err error) error {
	if err != nil && k.closed.Load() {
		return ErrClosed
	}
	return err
}

func (k *kernelSocket) statistics() (s tpacket.Stats3, err error) {
	err = k.control(func(fd int) error {
		got, err := unix.GetsockoptTpacketStatsV3(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil {
			s = tpacket.Stats3{Packets: got.Packets, Drops: got.Drops, FreezeQCount: got.Freeze_q_cnt}
		}
		return err
	})
	return s, err
}

func (k *kernelSocket) drops() ring.Drops { return ring.Drops{} }

// Sleep implements [ring.Sleeper]: the runtime's poller waits, which hears of
// each new packet or block.
func (k *kernelSocket) Sleep(ctx context.Context, ready func() bool) error {
	if ctx.Done() != nil {
		defer k.endWith(ctx)()
	}
	var err error
	err2 := k.raw.Read(func(fd uintptr) bool {
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
		return k.gone(err2)
	}
	return err
}

// socketError is what has happened to the socket, as to one whose device went
// down (ENETDOWN).
func socketError(fd int) error {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = os.NewSyscallError("packet socket", syscall.Errno(errno))
	}
	return err
}

// endWith ends a wait when ctx does, until the function that it returns is
// called. There are no deadlines but those of files to do it with.
func (k *kernelSocket) endWith(ctx context.Context) (end func()) {
	var over, ended bool
	stop := context.AfterFunc(ctx, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !over {
			ended = true
			k.file.SetReadDeadline(time.Unix(1, 0))
		}
	})
	return func() {
		stop()
		k.mu.Lock()
		defer k.mu.Unlock()
		if over = true; ended {
			k.file.SetReadDeadline(k.deadline)
		}
	}
}

// SetDeadline implements [ring.Sleeper].
func (k *kernelSocket) SetDeadline(t time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deadline = t
	return k.gone(k.file.SetReadDeadline(t))
}

func (k *kernelSocket) close() error {
	if k.closed.Swap(true) {
		return ErrClosed
	}
	err := k.file.Close() // wakes who waits
	if k.memory != nil {
		err = errors.Join(err, k.memory.Close())
	}
	return err
}
