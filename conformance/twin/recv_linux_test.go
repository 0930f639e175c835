package twin_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// twinSocket is a socket on both sides, without a ring unless one is set.
type twinSocket struct {
	t      *testing.T
	name   string
	kernel *kring.Socket
	ours   *rxring.Socket
	closed bool
}

// close closes both. The kernel may reuse its descriptor from then on.
func (s *twinSocket) close() {
	if !s.closed {
		s.closed = true
		rxtest.Must(s.t, s.kernel.Close(), s.ours.Close())
	}
}

func (w *twins) socket(name string, typ rxring.SockType, protocol uint16) *twinSocket {
	w.t.Helper()
	k, err := w.kernel.Socket(int(typ), 0)
	rxtest.Must(w.t, err)
	s, err := w.ns.Socket(typ, 0)
	rxtest.Must(w.t, err)
	both := &twinSocket{t: w.t, name: name, kernel: k, ours: s}
	w.t.Cleanup(both.close)
	for force, plain := range map[int]int{rxtest.SoSndbufforce: rxtest.SoSndbuf, rxtest.SoRcvbufforce: rxtest.SoRcvbuf} { // whatever net.core.rmem_default is here
		errno := setsockopt(k.FD, rxtest.SolSocket, force, rxtest.Int(212992/2))
		if errno == syscall.EPERM { // root in a user namespace may not go past net.core.rmem_max, which is rarely less
			errno = setsockopt(k.FD, rxtest.SolSocket, plain, rxtest.Int(212992/2))
		}
		if errno != 0 {
			w.t.Fatal(errno)
		}
	}
	if protocol != 0 {
		rxtest.Must(w.t, k.Bind(w.dev.Index(), protocol), s.BindDevice(w.dev, protocol))
	}
	return both
}

// set sets an option on both sides, and wants the same errno.
func (s *twinSocket) set(level, name int, val []byte) syscall.Errno {
	s.t.Helper()
	want := setsockopt(s.kernel.FD, level, name, val)
	if got := rxtest.Errno(s.ours.Setsockopt(level, name, val)); got != want {
		s.t.Errorf("%s: setsockopt %d %d % x: %v, the kernel says %v", s.name, level, name, val, got, want)
	}
	return want
}

func setsockopt(fd, level, name int, val []byte) syscall.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(val))), uintptr(len(val)), 0)
	return errno
}

// received is what one recvmsg gives.
type received struct {
	errno   syscall.Errno
	n       int
	flags   uint32
	data    []byte
	from    tpacket.SockaddrLL
	control []byte
}

func (r received) String() string {
	return fmt.Sprintf("%d, errno %v, flags %#x, from %+v\n  data % x\n  control % x", r.n, r.errno, r.flags, r.from, r.data, r.control)
}

// recv receives on both sides, and wants the same, times apart.
func (s *twinSocket) recv(what string, room, controlRoom int, flags rxring.RecvFlags) received {
	s.t.Helper()
	want := kernelRecvmsg(s.kernel.FD, room, controlRoom, flags)
	got := ourRecvmsg(s.ours, room, controlRoom, flags)
	if got.String() != want.String() {
		s.t.Errorf("%s, %s:\nrxring: %v\nkernel: %v", s.name, what, got, want)
	}
	return want
}

func kernelRecvmsg(fd, room, controlRoom int, flags rxring.RecvFlags) (r received) {
	b, control := make([]byte, room+1), make([]byte, controlRoom+1)
	iov := unix.Iovec{Base: &b[0], Len: uint64(room)}
	hdr := unix.Msghdr{
		Name: (*byte)(unsafe.Pointer(&r.from)), Namelen: tpacket.SizeofSockaddrLL,
		Iov: &iov, Iovlen: 1, Control: &control[0], Controllen: uint64(controlRoom),
	}
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdr)), uintptr(flags))
	if errno != 0 {
		return received{errno: errno}
	}
	r.n, r.flags = int(n), uint32(hdr.Flags)
	r.data = b[:min(r.n, room)]
	r.control = withoutTimes(control[:hdr.Controllen])
	return r
}

func ourRecvmsg(s *rxring.Socket, room, controlRoom int, flags rxring.RecvFlags) (r received) {
	b := make([]byte, room)
	m, err := s.Recv(b, flags)
	if err != nil {
		return received{errno: rxtest.Errno(err)}
	}
	r.control = withoutTimes(m.Control(controlRoom))
	r.n, r.flags, r.data, r.from = m.N, uint32(m.Flags), b[:min(m.N, room)], m.From
	return r
}

// withoutTimes wants every whole time stamp to be one of these minutes, and
// clears it.
func withoutTimes(control []byte) []byte {
	for at := 0; at+16 <= len(control); {
		size := int(binary.NativeEndian.Uint64(control[at:]))
		level, typ := binary.NativeEndian.Uint32(control[at+8:]), binary.NativeEndian.Uint32(control[at+12:])
		if level == 1 && (typ == 29 || typ == 35 || typ == 63 || typ == 64) {
			stamp := control[at+16 : at+size]
			if size == 32 {
				sec, part := int64(binary.NativeEndian.Uint64(stamp)), int64(binary.NativeEndian.Uint64(stamp[8:]))
				limit := map[uint32]int64{29: 1e6, 63: 1e6, 35: 1e9, 64: 1e9}[typ]
				if age := time.Since(time.Unix(sec, 0)); age < 0 || age > time.Minute || part < 0 || part >= limit {
					panic(fmt.Sprintf("time stamp %d %d", sec, part))
				}
			}
			clear(stamp)
		}
		at += (size + 7) &^ 7
	}
	return control
}

// wait waits until the kernel's socket has its packet.
func (s *twinSocket) wait() {
	s.t.Helper()
	if ok, err := s.kernel.Poll(5 * time.Second); !ok || err != nil {
		s.t.Fatalf("%s: no packet at the kernel's socket: %v", s.name, err)
	}
	if !s.ours.Readable() {
		s.t.Fatalf("%s: no packet at ours", s.name)
	}
}

// TestQueueGivesWhatTheKernelsDoes receives the same packets from sockets without
// a ring, in every way.
func TestQueueGivesWhatTheKernelsDoes(t *testing.T) {
	withTwins(t, func(w *twins) {
		sockets := []*twinSocket{
			w.socket("raw", rxring.SockRaw, tpacket.ETHPAll),
			w.socket("dgram", rxring.SockDgram, tpacket.ETHPAll),
			w.socket("raw, IPv4", rxring.SockRaw, tpacket.ETHPIP),
			w.socket("raw, filtered", rxring.SockRaw, tpacket.ETHPAll),
			w.socket("raw, vnet header", rxring.SockRaw, tpacket.ETHPAll),
			w.socket("dgram, all control messages", rxring.SockDgram, tpacket.ETHPAll),
		}
		prog := []cbpf.Instruction{{Op: cbpf.OpRetK, K: 50}}
		rxtest.Must(t, unix.SetsockoptSockFprog(sockets[3].kernel.FD, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, cbpf.SockFprog(prog)))
		rxtest.Must(t, sockets[3].ours.AttachFilter(prog))
		sockets[4].set(tpacket.SolPacket, tpacket.OptVnetHdr, rxtest.Int(1))
		for _, s := range sockets[3:] {
			s.set(tpacket.SolPacket, tpacket.OptAuxdata, rxtest.Int(1))
		}
		for _, o := range []int{rxtest.SoTimestampNS, rxtest.SoRxqOvfl} {
			sockets[5].set(rxtest.SolSocket, o, rxtest.Int(1))
		}
		ip := ipPacket(17, 100)
		frames := map[string][]byte{
			"plain":         rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip),
			"tag":           rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, 0x8100, 5),
			"two tags":      rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, 0x88a8, 5, 0x8100, 6),
			"to all":        rxtest.TaggedFrame([6]byte{255, 255, 255, 255, 255, 255}, 0x806, ip[:28]),
			"one byte":      rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip[:1]),
			"somebody else": rxtest.TaggedFrame([6]byte{2, 9, 9, 9, 9, 9}, 0x86dd, ip),
		}
		each := func(what string, inject func()) {
			for _, room := range []struct {
				data, control int
				flags         rxring.RecvFlags
			}{
				{300, 200, 0}, {300, 200, rxring.MsgTrunc}, {40, 64, 0}, {40, 40, rxring.MsgTrunc | rxring.MsgDontWait}, {20, 20, rxring.MsgPeek},
				{9, 16, 0}, {10, 15, rxring.MsgTrunc}, {0, 0, rxring.MsgTrunc | rxring.MsgPeek},
			} {
				inject()
				time.Sleep(time.Millisecond) // or the kernel may not have it everywhere
				for _, s := range sockets {
					what := fmt.Sprintf("%s, room for %d and %d, flags %#x", what, room.data, room.control, room.flags)
					s.recv(what, room.data, room.control, room.flags)
					rest := 200
					if room.flags&rxring.MsgPeek != 0 {
						rest = 0 // see TestLengthStaysTrueAfterAPeek
					}
					s.recv(what+", the rest", 300, rest, 0)
					s.recv(what+", nothing", 300, 200, 0)
				}
			}
		}
		for what, frame := range frames {
			each("in: "+what, func() { w.arrives(frame) })
			each("out: "+what, func() { w.leaves(binary.BigEndian.Uint16(frame[12:]), frame) })
		}
		each("checksum to do", func() {
			rxtest.Must(t, w.tap.ReceiveOffloaded(vnetHeader(1, 0, 0, 0, 34, 6), frames["plain"]))
			w.dev.Deliver(&rxring.Packet{Data: frames["plain"], Checksum: rxring.ChecksumPartial, ChecksumStart: 34, ChecksumOffset: 6})
		})
		each("UDP fragments to come", func() {
			rxtest.Must(t, w.tap.ReceiveOffloaded(vnetHeader(1, 3, 42, 30, 34, 6), frames["plain"]))
			w.dev.Deliver(&rxring.Packet{Data: frames["plain"], Checksum: rxring.ChecksumPartial, ChecksumStart: 34, ChecksumOffset: 6, GSO: rxring.GSO{Type: rxring.GSOUDP, Size: 30, HdrLen: 42}})
		})
		sockets[3].set(tpacket.SolPacket, tpacket.OptVnetHdr, rxtest.Int(1)) // of what the filter leaves of it
		each("segments to come", func() {
			rxtest.Must(t, w.tap.ReceiveOffloaded(vnetHeader(1, 5, 42, 30, 34, 6), frames["plain"]))
			w.dev.Deliver(&rxring.Packet{Data: frames["plain"], Checksum: rxring.ChecksumPartial, ChecksumStart: 34, ChecksumOffset: 6, GSO: rxring.GSO{Type: rxring.GSOUDPL4, Size: 30, HdrLen: 42}})
		})
		for bit := range 31 { // the last one is for 32-bit callers, and taken off before
			flags := rxring.RecvFlags(1) << bit
			s := sockets[0]
			w.arrives(frames["plain"])
			s.wait()
			s.recv(fmt.Sprintf("flag %#x", flags), 300, 0, flags)
			for s.recv("what is left", 300, 0, 0).errno == 0 {
			}
		}
	})
}

// TestLengthStaysTrueAfterAPeek: Linux keeps the packet's length where it puts
// the sender's family and protocol, and so forgets it at the first MSG_PEEK.
func TestLengthStaysTrueAfterAPeek(t *testing.T) {
	withTwins(t, func(w *twins) {
		s := w.socket("raw", rxring.SockRaw, tpacket.ETHPAll)
		s.set(tpacket.SolPacket, tpacket.OptAuxdata, rxtest.Int(1))
		frame := rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ipPacket(17, 100))
		w.arrives(frame)
		s.wait()
		s.recv("peek", 300, 200, rxring.MsgPeek)
		const tpLen = 16 + 4 // cmsghdr, tp_status
		kernel := kernelRecvmsg(s.kernel.FD, 300, 200, 0)
		t.Logf("the kernel's tp_len after a peek: %#x", binary.NativeEndian.Uint32(kernel.control[tpLen:]))
		ours := ourRecvmsg(s.ours, 300, 200, 0)
		if n := binary.NativeEndian.Uint32(ours.control[tpLen:]); int(n) != len(frame) {
			t.Errorf("tp_len %d, want %d", n, len(frame))
		}
	})
}

// TestControlMessagesComeInTheKernelsOrder tries every kind of time stamp, and
// drops between.
func TestControlMessagesComeInTheKernelsOrder(t *testing.T) {
	withTwins(t, func(w *twins) {
		s := w.socket("raw", rxring.SockRaw, tpacket.ETHPAll)
		s.set(tpacket.SolPacket, tpacket.OptAuxdata, rxtest.Int(1))
		s.set(rxtest.SolSocket, rxtest.SoRxqOvfl, rxtest.Int(1))
		s.set(rxtest.SolSocket, rxtest.SoRcvbuf, rxtest.Int(0))
		frame := rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ipPacket(17, 300))
		for _, stamp := range []int{0, rxtest.SoTimestamp, rxtest.SoTimestampNS} {
			if stamp != 0 {
				s.set(rxtest.SolSocket, stamp, rxtest.Int(1))
			}
			for range 2 {
				for range 6 {
					w.arrives(frame) // some are dropped
				}
				s.wait()
				for i := 0; ; i++ {
					if r := s.recv(fmt.Sprintf("stamp %d, packet %d", stamp, i), 400, 200, 0); r.errno != 0 {
						break
					}
				}
			}
		}
		for _, room := range []int{0, 15, 16, 20, 31, 32, 40, 47, 48, 55, 56, 63, 64, 90, 96, 100} {
			w.arrives(frame)
			s.wait()
			s.recv(fmt.Sprintf("room for %d", room), 400, room, 0)
		}
		st, err := s.kernel.Option(tpacket.OptStatistics, make([]byte, tpacket.SizeofStats))
		rxtest.Must(t, err)
		want := tpacket.Parse[tpacket.Stats](st)
		if got := s.ours.Statistics(); got.Packets != want.Packets || got.Drops != want.Drops || got.Drops == 0 {
			t.Errorf("statistics %+v, the kernel's %+v", got, want)
		}
	})
}

// TestQueueIsBoundedAsTheKernels is: the same number of packets, or nearly, for
// the same SO_RCVBUF.
func TestQueueIsBoundedAsTheKernels(t *testing.T) {
	withTwins(t, func(w *twins) {
		rxtest.Must(t, w.tap.SetMTU(65500))
		for _, n := range []int{60, 1500, 9000, 65000} {
			frame := rxtest.TaggedFrame(rxtest.OwnAddr, 0x88b5, make([]byte, n-14))
			for _, rcvbuf := range []int32{0, 10000, 100000, 212992} {
				s := w.socket("raw", rxring.SockRaw, 0)
				s.set(rxtest.SolSocket, rxtest.SoRcvbuf, rxtest.Int(rcvbuf))
				rxtest.Must(t, s.kernel.Bind(w.dev.Index(), tpacket.ETHPAll), s.ours.BindDevice(w.dev, tpacket.ETHPAll))
				for range 1000 {
					w.arrives(frame)
				}
				s.wait()
				st, err := s.kernel.Option(tpacket.OptStatistics, make([]byte, tpacket.SizeofStats))
				rxtest.Must(t, err)
				k, o := tpacket.Parse[tpacket.Stats](st), s.ours.Statistics()
				want, got := k.Packets-k.Drops, o.Packets-o.Drops
				t.Logf("%d bytes, SO_RCVBUF %d: %d packets, kernel %d", n, rcvbuf, got, want)
				if got > 2*want || want > 2*got || o.Packets != 1000 {
					t.Errorf("%d bytes, SO_RCVBUF %d: %d of %d packets, the kernel takes %d", n, rcvbuf, got, o.Packets, want)
				}
				s.close()
			}
		}
	})
}

// TestNewRingEmptiesTheQueue: and so does taking away one that is not there.
func TestNewRingEmptiesTheQueue(t *testing.T) {
	withTwins(t, func(w *twins) {
		s := w.socket("raw", rxring.SockRaw, tpacket.ETHPAll)
		frame := rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ipPacket(17, 100))
		none, bad := tpacket.Req{}, tpacket.Req{FrameNr: 1}
		for _, c := range []struct {
			name string
			req  tpacket.Req
			want bool
		}{
			{"no ring", none, false}, {"bad request", bad, true}, {"a ring", tpacket.Req{BlockSize: 4096, BlockNr: 1, FrameSize: 512, FrameNr: 8}, false},
		} {
			w.arrives(frame)
			s.wait()
			s.set(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&c.req))
			ready, err := s.kernel.Poll(0)
			rxtest.Must(t, err)
			if ready != c.want || s.ours.Readable() != ready {
				t.Errorf("%s: readable %v, the kernel's %v; want %v", c.name, s.ours.Readable(), ready, c.want)
			}
		}
		if !bytes.Equal(s.ours.Ring().Memory().Bytes(), make([]byte, 4096)) {
			t.Error("something is in the new ring")
		}
	})
}
