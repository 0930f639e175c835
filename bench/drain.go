package bench

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/gopacket/gopacket/afpacket"
	mdpacket "github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

//go:embed testdata/drain.c
var drainC []byte

// drainer is a reader of the kernel's packets of a TAP device. It is opened in the
// device's namespace, for n packets that are there before it may begin.
type drainer struct {
	row  string
	open func(t *tap, n int) (drain, error)
}

// drain is an open drainer.
type drain interface {
	// read reads n packets, and says how many bytes they have.
	read(n int) (bytes uint64, err error)
	close() error
}

// Of a packet of drainSize bytes in a ring: what V3 takes for it, and a slot.
const (
	drainSize  = 64
	drainBlock = 160
	drainSlot  = 256

	// Blocks are retired seldom, but some are before they are full.
	drainRetire = 500 * time.Millisecond
	drainSpare  = 32 << 20

	// most is how many packets lie in the ring.
	most = 1_000_000
)

var drainers = []drainer{
	{rowCapture, openCapture(false)},
	{"rxring/capture, V3, batches of 32", openCaptureBatches},
	{"rxring/capture, V2", openCapture(true)},
	{"gopacket/afpacket, V3, zero copy", openAfpacket(afpacket.TPacketVersion3)},
	{"gopacket/afpacket, V2, zero copy", openAfpacket(afpacket.TPacketVersion2)},
	{"mdlayher/packet", openMdlayher},
	{rowLibpcap, openLibpcap},
}

// drainCells measures each drainer's CPU time for a packet, kernel included.
func drainCells() (all []cell) {
	for _, d := range drainers {
		all = append(all, cell{drainTable, d.row, sizeName(drainSize), func(budget time.Duration) (Sample, error) {
			n := most
			if budget < aMeasurement {
				n = 5000
			}
			return drained(d, n)
		}})
	}
	return all
}

func drained(d drainer, n int) (s Sample, err error) {
	t, err := openTAP(drainSize)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	var r drain
	if err := t.ns.Do(func() (err error) {
		r, err = d.open(t, n)
		return err
	}); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	t.send(n)
	if t.err != nil {
		return s, t.err
	}
	runtime.GC()
	mallocs := mallocs()
	before := cpuTime()
	bytes, err := r.read(n)
	s.Elapsed = cpuTime() - before
	s.Mallocs = mallocs()
	if c, ok := r.(*libpcap); ok {
		s.Elapsed = c.took // another process's
	}
	if err != nil {
		return s, err
	}
	if want := uint64(n) * drainSize; bytes != want {
		return s, fmt.Errorf("%d packets of %d bytes: %d bytes read, want %d", n, drainSize, bytes, want)
	}
	s.Offered, s.Accepted = uint64(n), uint64(n)
	return s, nil
}

// cpuTime is what this process has used, in user space and in the kernel.
func cpuTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		panic(err) // the clock is always there
	}
	return time.Duration(ts.Nano())
}

// patiently is a deadline that a drainer which lost packets runs into.
func patiently() time.Time { return time.Now().Add(4 * waitTimeout) }

type captured struct {
	h     *capture.Handle
	batch []ring.Frame // nil: one by one
}

func openCapture(immediate bool) func(*tap, int) (drain, error) {
	return func(_ *tap, n int) (drain, error) {
		c := capture.Config{Immediate: immediate, Buffer: n*drainBlock + drainSpare, Retire: drainRetire}
		if immediate {
			c.Snaplen = drainSlot - 128 // whole packets
			c.Buffer = n*drainSlot + 1<<20
		}
		h, err := capture.Open(tapName, c)
		if err != nil {
			return nil, err
		}
		return &captured{h: h}, h.SetDeadline(patiently())
	}
}

func openCaptureBatches(t *tap, n int) (drain, error) {
	d, err := openCapture(false)(t, n)
	if err == nil {
		d.(*captured).batch = make([]ring.Frame, 32)
	}
	return d, err
}

func (c *captured) read(n int) (bytes uint64, err error) {
	ctx := context.Background()
	if c.batch == nil {
		for p, err := range c.h.Packets(ctx) {
			if err != nil {
				return bytes, err
			}
			bytes += uint64(len(p.Data)) + uint64(p.Data[0]&0)
			if n--; n == 0 {
				return bytes, nil
			}
		}
	}
	for n > 0 {
		got, err := c.h.ReadBatch(ctx, c.batch[:min(n, len(c.batch))])
		if err != nil {
			return bytes, err
		}
		for i := range c.batch[:got] {
			p := &c.batch[i]
			bytes += uint64(len(p.Data)) + uint64(p.Data[0]&0)
		}
		ring.ReleaseBatch(c.batch[:got])
		n -= got
	}
	return bytes, nil
}

func (c *captured) close() error { return c.h.Close() }

type gopacketed struct{ h *afpacket.TPacket }

func openAfpacket(v afpacket.OptTPacketVersion) func(*tap, int) (drain, error) {
	return func(_ *tap, n int) (drain, error) {
		const block = 256 << 10
		frame, need := 2048, n*drainBlock+drainSpare
		if v == afpacket.TPacketVersion2 {
			frame, need = drainSlot, n*drainSlot
		}
		h, err := afpacket.NewTPacket(afpacket.OptInterface(tapName), v, afpacket.OptFrameSize(frame), afpacket.OptBlockSize(block),
			afpacket.OptNumBlocks(need/block+4), afpacket.OptBlockTimeout(drainRetire), afpacket.OptPollTimeout(waitTimeout))
		return gopacketed{h}, err
	}
}

func (g gopacketed) read(n int) (bytes uint64, err error) {
	for range n {
		data, _, err := g.h.ZeroCopyReadPacketData()
		if err != nil {
			return bytes, err
		}
		bytes += uint64(len(data)) + uint64(data[0]&0)
	}
	return bytes, nil
}

func (g gopacketed) close() error {
	g.h.Close()
	return nil
}

type mdlayher struct{ c *mdpacket.Conn }

func openMdlayher(_ *tap, n int) (drain, error) {
	ifi, err := net.InterfaceByName(tapName)
	if err != nil {
		return nil, err
	}
	c, err := mdpacket.Listen(ifi, mdpacket.Raw, int(tpacket.ETHPAll), nil)
	if err != nil {
		return nil, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	// It has no ring: the packets lie in the socket's queue.
	const truesize = 2048 // at most
	err2 := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, min(n*truesize/2, 1<<30-1))
	})
	if err = errors.Join(err, err2); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return mdlayher{c}, c.SetReadDeadline(patiently())
}

func (m mdlayher) read(n int) (bytes uint64, err error) {
	b := make([]byte, 2048)
	for range n {
		got, _, err := m.c.ReadFrom(b)
		if err != nil {
			return bytes, err
		}
		bytes += uint64(got)
	}
	return bytes, nil
}

func (m mdlayher) close() error { return m.c.Close() }

// libpcap is a program in C, in a process of its own.
type libpcap struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	dir  string
	took time.Duration
}

func openLibpcap(_ *tap, n int) (drain, error) {
	dir, err := os.MkdirTemp("", "rxring-drain")
	if err != nil {
		return nil, err
	}
	l := &libpcap{dir: dir}
	if err := l.start(n); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return l, nil
}

func (l *libpcap) start(n int) (err error) {
	program := filepath.Join(l.dir, "drain")
	if err := compile(program, drainC, "-lpcap"); err != nil {
		return err
	}
	l.cmd = exec.Command(program, tapName, strconv.Itoa(n), strconv.Itoa(n*drainBlock+drainSpare), strconv.Itoa(int(drainRetire/time.Millisecond)))
	l.cmd.Stderr = os.Stderr
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	l.out = bufio.NewReader(out)
	if err := l.cmd.Start(); err != nil {
		return err
	}
	if line, err := l.out.ReadString('\n'); err != nil || line != "ready\n" {
		return errors.Join(fmt.Errorf("the program says %q: want \"ready\"", line), err, l.in.Close(), l.cmd.Wait())
	}
	return nil
}

func (l *libpcap) read(n int) (bytes uint64, err error) {
	kill := time.AfterFunc(waitTimeout, func() { l.cmd.Process.Kill() })
	defer kill.Stop()
	if _, err := io.WriteString(l.in, "go\n"); err != nil {
		return 0, err
	}
	packets := 0
	if _, err := fmt.Fscan(l.out, (*int64)(&l.took), &packets, &bytes); err != nil {
		return 0, fmt.Errorf("the program in C has ended: %w", err)
	}
	if packets != n {
		return 0, fmt.Errorf("%d packets read: want %d", packets, n)
	}
	return bytes, nil
}

func (l *libpcap) close() error {
	return errors.Join(l.in.Close(), l.cmd.Wait(), os.RemoveAll(l.dir))
}
