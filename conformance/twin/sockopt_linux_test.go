package twin_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// get reads an option on both sides, with buf for room and contents, and wants
// the same: errno, length and bytes.
func (s *twinSocket) get(level, name int, buf []byte) {
	s.t.Helper()
	want, wantBuf := uint32(len(buf)), append(slices.Clone(buf), 0)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.kernel.FD), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&wantBuf[0])), uintptr(unsafe.Pointer(&want)), 0)
	gotBuf := slices.Clone(buf)
	n, err := s.ours.Getsockopt(level, name, gotBuf)
	if got := rxtest.Errno(err); got != errno || errno == 0 && (uint32(n) != want || !bytes.Equal(gotBuf, wantBuf[:len(buf)])) {
		s.t.Errorf("%s: getsockopt %d %d, room for %d: %d bytes % x, %v; the kernel: %d bytes % x, %v",
			s.name, level, name, len(buf), n, gotBuf, got, want, wantBuf[:len(buf)], errno)
	}
}

// notOurs are options of SOL_SOCKET that packet sockets have in Linux and rxring
// leaves to whoever serves it: they concern sending, or the card.
var notOurs = map[int]string{
	13: "SO_LINGER", 26: "SO_ATTACH_FILTER, whose value is a pointer", 37: "SO_TIMESTAMPING", 47: "SO_MAX_PACING_RATE",
	50: "SO_ATTACH_BPF", 51: "SO_ATTACH_REUSEPORT_CBPF", 52: "SO_ATTACH_REUSEPORT_EBPF", 53: "SO_CNX_ADVICE", 55: "SO_MEMINFO",
	56: "SO_INCOMING_NAPI_ID", 57: "SO_COOKIE", 61: "SO_TXTIME", 65: "SO_TIMESTAMPING_NEW", 68: "SO_DETACH_REUSEPORT_BPF",
	70: "SO_BUSY_POLL_BUDGET", 71: "SO_NETNS_COOKIE", 72: "SO_BUF_LOCK", 73: "SO_RESERVE_MEM", 80: "SO_DEVMEM_DONTNEED",
}

// TestOptionsAreTheKernels sets and reads every option that there is, with values
// and lengths good and bad.
func TestOptionsAreTheKernels(t *testing.T) {
	need.Time(t, "it makes many calls on the kernel")
	withTwins(t, func(w *twins) {
		values := [][]byte{
			nil, {1}, {1, 0}, {1, 0, 0}, rxtest.Int(0), rxtest.Int(1), rxtest.Int(2), rxtest.Int(-1), rxtest.Int(10), rxtest.Int(12), rxtest.Int(1000), rxtest.Int(70000), rxtest.Int(1<<31 - 1), rxtest.Int(-1 << 31),
			append(rxtest.Int(1), 0, 0, 0, 0), make([]byte, 15), make([]byte, 16), make([]byte, 28),
			timeval(0, 1), timeval(1, 999999), timeval(1, 1000000), timeval(1, -1), timeval(-5, 3), timeval(1<<62, 0), timeval(1<<40, 4001),
			[]byte("tap0"), []byte("tap0\x00more"), []byte("tap0, and a name that is too long"), []byte("none\x00"), []byte("\x00\x00\x00\x00"),
		}
		rooms := []int{0, 1, 2, 3, 4, 5, 8, 12, 15, 16, 17, 40}
		limit := map[int]string{rxtest.SoSndbuf: "wmem_max", rxtest.SoRcvbuf: "rmem_max"}
		for name, file := range limit {
			if n, err := os.ReadFile("/proc/sys/net/core/" + file); err == nil && strings.TrimSpace(string(n)) == "4194304" {
				delete(limit, name)
			} else {
				t.Logf("buffers past net.core.%s left out: it is %s here, not Linux's default", file, n)
			}
		}
		calls := 0
		try := func(s *twinSocket, level, name int) {
			for _, val := range values {
				if level == rxtest.SolSocket && limit[name] != "" && len(val) >= 4 && binary.NativeEndian.Uint32(val) > 1<<20 {
					continue
				}
				calls++
				if s.set(level, name, val) == 0 {
					calls++
					s.get(level, name, make([]byte, 16))
				}
			}
			for _, room := range rooms {
				calls++
				s.get(level, name, make([]byte, room))
			}
		}
		for _, typ := range []rxring.SockType{rxring.SockRaw, rxring.SockDgram} {
			// One with a ring for all options: the kernel takes its time with each.
			ringed := w.socket(fmt.Sprint("type ", typ, ", with a ring"), typ, 0)
			ringed.set(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&rxtest.SmallRing))
			for level, last := range map[int]int{rxtest.SolSocket: 84, tpacket.SolPacket: 30, 0: 3, 6: 2, 270: 2} {
				for name := range last {
					if _, ok := notOurs[name]; ok && level == rxtest.SolSocket || level == tpacket.SolPacket && (name == tpacket.OptTxRing || name == tpacket.OptAddMembership) {
						continue // the kernel has more devices: TestMembershipsAreTheKernels
					}
					s := w.socket(fmt.Sprint("type ", typ), typ, 0)
					try(s, level, name)
					s.close()
					if level == tpacket.SolPacket && name != tpacket.OptRxRing {
						try(ringed, level, name)
					}
				}
			}
			try(ringed, tpacket.SolPacket, tpacket.OptRxRing) // takes it away
		}
		t.Logf("%d calls", calls)
	})
}

func timeval(sec, usec int64) []byte {
	return binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, uint64(sec)), uint64(usec))
}

// TestOptionsThatAreRelatedAreTheKernels: what one sets shows in another.
func TestOptionsThatAreRelatedAreTheKernels(t *testing.T) {
	withTwins(t, func(w *twins) {
		s := w.socket("raw", rxring.SockRaw, 0)
		stamps := []int{29, 35, 63, 64}
		for _, name := range append(stamps, stamps...) {
			for _, v := range []int32{1, 0, 1} {
				s.set(rxtest.SolSocket, name, rxtest.Int(v))
				for _, other := range stamps {
					s.get(rxtest.SolSocket, other, make([]byte, 4))
				}
			}
		}
		for _, v := range []int32{0, 1000, -1, 1 << 24, 1<<31 - 1, -1 << 31} {
			for force, name := range map[int]int{rxtest.SoRcvbufforce: rxtest.SoRcvbuf, rxtest.SoSndbufforce: rxtest.SoSndbuf} {
				s.set(rxtest.SolSocket, force, rxtest.Int(v))
				s.get(rxtest.SolSocket, name, make([]byte, 4))
			}
		}
		const timeoOld, timeoNew = 20, 66
		for i, v := range [][]byte{timeval(3, 4000), timeval(0, 0), timeval(7, 1)} {
			s.set(rxtest.SolSocket, []int{timeoOld, timeoNew}[i%2], v)
			s.get(rxtest.SolSocket, timeoOld, make([]byte, 16))
			s.get(rxtest.SolSocket, timeoNew, make([]byte, 16))
		}
		const bindToDevice, bindToIfindex = 25, 62
		for _, v := range []int32{int32(w.dev.Index()), 0, 77} {
			s.set(rxtest.SolSocket, bindToIfindex, rxtest.Int(v))
			s.get(rxtest.SolSocket, bindToDevice, make([]byte, 16))
			s.get(rxtest.SolSocket, bindToDevice, make([]byte, 15))
		}
		for _, version := range []int32{0, 1, 2, 3, -1} {
			s.get(tpacket.SolPacket, tpacket.OptHdrlen, rxtest.Int(version))
			s.get(tpacket.SolPacket, tpacket.OptHdrlen, append(rxtest.Int(version), 1, 2, 3, 4))
			s.set(tpacket.SolPacket, tpacket.OptVersion, rxtest.Int(version))
			s.get(tpacket.SolPacket, tpacket.OptVersion, make([]byte, 4))
			for _, room := range []int{0, 7, 8, 11, 12, 20} {
				s.get(tpacket.SolPacket, tpacket.OptStatistics, make([]byte, room))
			}
		}
	})
}

// TestFiltersReadBackAsTheKernels: SO_GET_FILTER counts in instructions.
func TestFiltersReadBackAsTheKernels(t *testing.T) {
	withTwins(t, func(w *twins) {
		s := w.socket("raw", rxring.SockRaw, 0)
		prog := []cbpf.Instruction{{Op: 0x28, K: 12}, {Op: 0x15, Jt: 0, Jf: 1, K: 0x800}, {Op: 0x06, K: 77}, {Op: 0x06}}
		check := func(what string) {
			for room := range 6 {
				want := make([]cbpf.Instruction, 6)
				n := uint32(room)
				_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.kernel.FD), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
					uintptr(unsafe.Pointer(&want[0])), uintptr(unsafe.Pointer(&n)), 0)
				got, m, err := s.ours.GetFilter(room)
				if rxtest.Errno(err) != errno || errno == 0 && (m != int(n) || !slices.Equal(append(got, make([]cbpf.Instruction, 6-len(got))...), want)) {
					t.Errorf("%s, room for %d: %d %v, %v; the kernel: %d %v, %v", what, room, m, got, err, n, want, errno)
				}
			}
		}
		check("no filter")
		rxtest.Must(t, unix.SetsockoptSockFprog(s.kernel.FD, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, cbpf.SockFprog(prog)), s.ours.AttachFilter(prog))
		prog[2].K = 1 // neither remembers where it was
		check("a filter")
		s.set(rxtest.SolSocket, 44, rxtest.Int(1))
		check("a locked filter")
		for _, v := range []int32{0, 1} {
			s.set(rxtest.SolSocket, 44, rxtest.Int(v))
			s.set(rxtest.SolSocket, 27, rxtest.Int(v))
		}
	})
}

// TestMarksAndPrioritiesInControlMessages: SO_RCVMARK, SO_RCVPRIORITY, and the new
// kinds of time stamps.
func TestMarksAndPrioritiesInControlMessages(t *testing.T) {
	withTwins(t, func(w *twins) {
		s := w.socket("raw", rxring.SockRaw, tpacket.ETHPAll)
		for _, o := range []int{63, 64, 75, 82} {
			s.set(rxtest.SolSocket, o, rxtest.Int(1))
			s.set(tpacket.SolPacket, tpacket.OptAuxdata, rxtest.Int(int32(o%2)))
			w.arrives(rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ipPacket(17, 100)))
			s.wait()
			if r := s.recv(fmt.Sprint("option ", o), 200, 200, 0); r.errno != 0 {
				t.Error(r.errno)
			}
		}
	})
}
