package race

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/source/netstack/streams/payload"
	"github.com/rxring/rxring/tpacket"
)

// Kernel sends TCP streams over the loopback device of a private network
// namespace, and reads them from a packet socket's ring there. The error is a
// [*NamespaceError] when this process may have no namespace.
func Kernel(ctx context.Context, c KernelConfig) (*KernelReport, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	ns, err := kring.New()
	if err != nil {
		return nil, &NamespaceError{err, namespaceHint()}
	}
	defer ns.Close()

	ask := kring.RingConfig{
		Type:    unix.SOCK_RAW,
		Version: tpacket.V2,
		Request: tpacket.Req3{Req: tpacket.Req{
			BlockSize: uint32(c.Frame), BlockNr: uint32(c.Slots),
			FrameSize: uint32(c.Frame), FrameNr: uint32(c.Slots),
		}},
	}
	if c.Blocks {
		ask.Version, ask.Request.RetireBlkTov = tpacket.V3, 1 // ms: the shortest
	}
	r, err := ns.OpenRing(ask)
	if err != nil {
		return nil, fmt.Errorf("the kernel's ring: %w", err)
	}
	defer r.Close()
	if err := r.Bind(0, tpacket.ETHPAll); err != nil {
		return nil, fmt.Errorf("the kernel's ring: bind: %w", err)
	}
	t, err := connect(ns, c.Writers)
	if err != nil {
		return nil, fmt.Errorf("TCP connections over loopback: %w", err)
	}

	k := &kernelReader{
		ring: r, copy: make([]byte, c.Frame), traffic: t,
		report: KernelReport{
			Kernel: release(), Version: ask.Version.String(), Writers: c.Writers,
			Slots: c.Slots, FrameBytes: c.Frame,
		},
	}
	start := time.Now()
	t.start()
	err = k.read(ctx, start.Add(c.Duration), func() {
		if c.Progress != nil {
			c.Progress(min(1, time.Since(start).Seconds()/c.Duration.Seconds()))
		}
	})
	t.stop()
	for k.next() {
	}
	if err != nil {
		return nil, err
	}
	report := &k.report
	report.Seconds = time.Since(start).Seconds()
	report.EndedEarly = ctx.Err() != nil
	report.Wraps = k.taken / uint64(report.Slots)
	report.OK = report.Torn == 0
	var stats tpacket.Stats
	if _, err := r.Option(tpacket.OptStatistics, tpacket.Bytes(&stats)); err != nil {
		return nil, fmt.Errorf("PACKET_STATISTICS: %w", err)
	}
	report.Dropped = uint64(stats.Drops)
	return report, nil
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// kernelReader reads the kernel's ring as a sniffer does.
type kernelReader struct {
	ring    *kring.Ring
	slot    uint32 // or block
	at      int    // in a block: where its next packet lies
	left    uint32 // packets in it
	taken   uint64 // slots or blocks, so far
	copy    []byte
	traffic *traffic
	report  KernelReport
}

func (r *kernelReader) read(ctx context.Context, until time.Time, progress func()) error {
	for ctx.Err() == nil && time.Now().Before(until) {
		for range 1000 {
			if r.next() {
				continue
			}
			if _, err := r.ring.Poll(5 * time.Millisecond); err != nil {
				return fmt.Errorf("poll: %w", err)
			}
			break
		}
		progress()
	}
	return nil
}

// next reads the next packet, if there is one.
func (r *kernelReader) next() bool {
	if r.left == 0 && r.ring.Status(r.slot)&tpacket.StatusUser == 0 {
		return false
	}
	if r.ring.Geometry.Version == tpacket.V3 {
		return r.nextOfBlock()
	}
	frame := r.ring.Frame(r.slot)
	h := tpacket.Header2At(frame)
	b := r.take(frame, int(h.Mac), int(h.Snaplen))
	wire := int(h.Len)
	r.handBack()
	r.check(b, wire)
	return true
}

// nextOfBlock is next for a block that is the reader's.
func (r *kernelReader) nextOfBlock() bool {
	block := r.ring.Block(r.slot)
	if r.left == 0 {
		d := tpacket.Parse[tpacket.BlockDesc](block)
		if d.NumPkts == 0 {
			r.handBack()
			return r.next()
		}
		r.left, r.at = d.NumPkts, int(d.OffsetToFirstPkt)
	}
	h := *tpacket.Header3At(block[min(r.at, len(block)-tpacket.SizeofHeader3):])
	b := r.take(block, r.at+int(h.Mac), int(h.Snaplen))
	r.at += int(h.NextOffset)
	if r.left--; r.left == 0 {
		r.handBack()
	}
	r.check(b, int(h.Len))
	return true
}

// take copies n bytes at at out of the ring, as far as they lie in mem.
func (r *kernelReader) take(mem []byte, at, n int) []byte {
	return r.copy[:copy(r.copy[:min(n, len(r.copy))], mem[min(at, len(mem)):])]
}

func (r *kernelReader) handBack() {
	r.ring.Release(r.slot)
	r.taken++
	if r.slot++; r.slot == uint32(r.report.Slots) {
		r.slot = 0
	}
}

func (r *kernelReader) check(b []byte, wire int) {
	r.report.Packets++
	r.report.Largest = max(r.report.Largest, wire)
	n, err := r.traffic.check(b)
	if n > 0 {
		r.report.Content++
		r.report.Bytes += uint64(n)
	}
	if err != nil {
		r.report.Torn++
		if len(r.report.Tears) < maxKernelTears {
			r.report.Tears = append(r.report.Tears, fmt.Sprintf("packet %d is torn: %v", r.report.Packets, err))
		}
	}
}

// maxKernelTears is how many torn packets a KernelReport describes.
const maxKernelTears = 5

// traffic is TCP connections, each of which carries a self-describing stream.
type traffic struct {
	flows  []*flow
	byPort map[uint16]*flow // the sending end's port
	server uint16
	wg     sync.WaitGroup
}

type flow struct {
	stream       uint16
	sender, sink int    // descriptors
	based        bool   // base is known
	base         uint32 // sequence number of the stream's first byte
	last         uint64 // stream offset of the latest segment
}

// connect makes n connections within ns.
func connect(ns *kring.Namespace, n int) (*traffic, error) {
	t := &traffic{byPort: make(map[uint16]*flow)}
	err := ns.Do(func() error { return t.connect(n) })
	if err != nil {
		t.close()
	}
	return t, err
}

func (t *traffic) connect(n int) error {
	listener, err := tcp()
	if err != nil {
		return err
	}
	defer unix.Close(listener)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(listener, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("SIOCSIFFLAGS lo: %w", err)
	}
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(listener, n); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server, err := unix.Getsockname(listener)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	t.server = uint16(server.(*unix.SockaddrInet4).Port)
	for i := range n {
		f := &flow{stream: uint16(i), sender: -1, sink: -1}
		t.flows = append(t.flows, f)
		if f.sender, err = tcp(); err != nil {
			return err
		}
		if i%2 == 1 {
			// Every other connection sends segments of all sizes: small ones
			// overtake large ones.
			unix.SetsockoptInt(f.sender, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		}
		if err := unix.Connect(f.sender, server); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		local, err := unix.Getsockname(f.sender)
		if err != nil {
			return fmt.Errorf("getsockname: %w", err)
		}
		t.byPort[uint16(local.(*unix.SockaddrInet4).Port)] = f
		if f.sink, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC); err != nil {
			return fmt.Errorf("accept: %w", err)
		}
	}
	return nil
}

func tcp() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	return fd, nil
}

// chunk is what a sender writes at once: more than a segment holds.
const chunk = 256 << 10

func (t *traffic) start() {
	for _, f := range t.flows {
		t.wg.Go(f.send)
		t.wg.Go(f.drain)
	}
}

func (f *flow) send() {
	buf := make([]byte, chunk)
	p := payload.Position{Stream: f.stream}
	for size := uint64(len(buf)); ; {
		if f.stream%2 == 1 {
			size = 1 + (size*6364136223846793005+1442695040888963407)%(chunk/8) // any sizes
		}
		b := buf[:size]
		payload.Fill(b, p)
		for len(b) > 0 {
			n, err := unix.Write(f.sender, b)
			switch {
			case err == unix.EINTR:
				continue
			case err != nil:
				return // shut down
			}
			b = b[n:]
			p.Offset += uint64(n)
		}
	}
}

func (f *flow) drain() {
	buf := make([]byte, chunk)
	for {
		n, err := unix.Read(f.sink, buf)
		if err != unix.EINTR && n <= 0 {
			return
		}
	}
}

// stop ends the connections and waits for their goroutines.
func (t *traffic) stop() {
	for _, f := range t.flows {
		unix.Shutdown(f.sender, unix.SHUT_RDWR)
		unix.Shutdown(f.sink, unix.SHUT_RDWR)
	}
	t.wg.Wait()
	t.close()
}

func (t *traffic) close() {
	for _, f := range t.flows {
		unix.Close(f.sender)
		unix.Close(f.sink)
	}
}

func namespaceHint() string {
	read := func(path string) string { b, _ := os.ReadFile(path); return string(b) }
	switch {
	case read("/proc/sys/user/max_user_namespaces") == "0\n":
		return "run as root, or allow user namespaces: sysctl user.max_user_namespaces=10000"
	case read("/proc/sys/kernel/unprivileged_userns_clone") == "0\n":
		return "run as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
	case read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1\n":
		return "run as root, or allow user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
	}
	return "run as root; in a container, allow namespaces: docker run --privileged, or --cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add NET_RAW --security-opt seccomp=unconfined"
}
