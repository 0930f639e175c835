package twin_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// TestTheKernelHasTheSameFanoutRules runs the scripts of TestFanoutRules on the
// kernel's sockets.
func TestTheKernelHasTheSameFanoutRules(t *testing.T) {
	kringtest.Run(t, func(ns *kring.Namespace) {
		kringtest.NeedDevices(t)
		tap, err := ns.TAP("tap0", 10, rxtest.OwnAddr)
		rxtest.Must(t, err)
		defer tap.Close()
		for _, rule := range fanoutRules {
			t.Run(rule.name, func(t *testing.T) {
				k := &kernelSide{ns: ns, tap: tap}
				defer k.close()
				rule.run(fanoutScript{t, k})
			})
		}
	})
}

// kernelSide is the running kernel's side of a script.
type kernelSide struct {
	ns   *kring.Namespace
	tap  *kring.Device
	open []*kernelSocket
}

// close closes all sockets, at once: each has to wait for packets under way.
func (side *kernelSide) close() {
	var wg sync.WaitGroup
	for _, s := range side.open {
		wg.Go(s.close)
	}
	wg.Wait()
}

func (side *kernelSide) device() int { return side.tap.Index }

func (side *kernelSide) socket(t *testing.T, protocol uint16) sideSocket {
	t.Helper()
	s, err := side.ns.Socket(unix.SOCK_RAW, protocol)
	rxtest.Must(t, err)
	side.open = append(side.open, &kernelSocket{s})
	return side.open[len(side.open)-1]
}

type kernelSocket struct{ *kring.Socket }

func (s *kernelSocket) bind(ifindex int, protocol uint16) error { return s.Bind(ifindex, protocol) }

func (s *kernelSocket) set(level, name int, val []byte) error {
	if level == tpacket.SolPacket {
		return s.SetOption(name, val)
	}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(s.FD), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(val))), uintptr(len(val)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func (s *kernelSocket) get(name, room int) ([]byte, error) { return s.Option(name, make([]byte, room)) }

func (s *kernelSocket) program(prog []cbpf.Instruction) error { return kernelProgram(s.Socket, prog) }

func (s *kernelSocket) close() { s.Close() }

// kernelProgram sets PACKET_FANOUT_DATA.
func kernelProgram(s *kring.Socket, prog []cbpf.Instruction) error {
	return unix.SetsockoptSockFprog(s.FD, unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, cbpf.SockFprog(prog))
}

// withQueues is withTwins with a TAP of three queues, and traffic that says on
// which of them a packet arrives.
func withQueues(t *testing.T, fn func(w *twins)) {
	kringtest.Run(t, func(k *kring.Namespace) {
		kringtest.NeedDevices(t)
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "tap0", HardwareAddr: rxtest.OwnAddr})
		tap, err := k.TAPQueues("tap0", dev.Index(), rxtest.OwnAddr, 3)
		rxtest.Must(t, err)
		defer tap.Close()
		fn(&twins{t, k, tap, ns, dev})
	})
}

// join puts a ring into a fanout group on both sides.
func (w *twins) join(r *twinRing, args []byte) {
	w.t.Helper()
	rxtest.Must(w.t, r.kernel.SetOption(tpacket.OptFanout, args), r.ours.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, args))
}

// group is n rings that joined one fanout group.
func (w *twins) group(n int, protocol uint16, args []byte) (rings []*twinRing) {
	w.t.Helper()
	for i := range n {
		r := w.ring(fmt.Sprintf("member %d", i), rxring.SockRaw, protocol)
		w.join(r, args)
		rings = append(rings, r)
	}
	return rings
}

func (r *twinRing) close(t *testing.T) { closeAll(t, []*twinRing{r}) }

// closeAll closes the rings at once: each of the kernel's has to wait for packets
// under way.
func closeAll(t *testing.T, rings []*twinRing) {
	t.Helper()
	errs := make([]error, len(rings))
	var wg sync.WaitGroup
	for i, r := range rings {
		wg.Go(func() { errs[i] = r.closeBoth() })
	}
	wg.Wait()
	rxtest.Must(t, errs...)
}

// compareAll wants every ring's new frames to be the same, and returns how many
// they are by ring.
func compareAll(t *testing.T, what string, rings []*twinRing) (counts []int) {
	t.Helper()
	for _, r := range rings {
		counts = append(counts, r.compare(t, what))
	}
	return counts
}

// udp4 is an Ethernet frame with an IPv4 UDP packet from and to these hosts and
// ports.
func udp4(src, dst byte, sport, dport uint16) []byte {
	b := append(append(rxtest.OwnAddr[:], rxtest.PeerAddr[:]...), 0x08, 0x00)
	b = append(b, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, src, 192, 0, 2, dst)
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	return append(b, make([]byte, 22)...)
}

func TestFanoutChoosesAsTheKernelDoes(t *testing.T) {
	need.Time(t, "it makes many calls on the kernel")
	withQueues(t, func(w *twins) {
		in, out := udp4(1, 2, 1000, 53), udp4(2, 1, 53, 1000)
		arp := append(append(rxtest.OwnAddr[:], rxtest.PeerAddr[:]...), append([]byte{0x08, 0x06}, make([]byte, 28)...)...)
		some := func(w *twins) {
			for range 4 {
				w.arrives(in)
				w.leaves(0x800, out)
				w.arrives(arp)
			}
		}
		ld := func(size uint16, k uint32) []cbpf.Instruction { // A = the packet's bytes at k; return A
			return []cbpf.Instruction{{Op: 0x20 | size, K: k}, {Op: 0x16}}
		}
		const wide, half, octet = 0x00, 0x08, 0x10
		for _, c := range []struct {
			name     string
			args     []byte
			protocol uint16
			members  int
			program  []cbpf.Instruction
			traffic  func(*twins)
			want     []int
		}{
			{"in turn, the second first", fanoutArgs(1, lb, 0), tpacket.ETHPAll, 3, nil, some, []int{4, 4, 4}},
			{"in turn, of five", fanoutArgs(1, lb, 0), tpacket.ETHPAll, 5, nil, some, []int{2, 3, 3, 2, 2}},
			{"a group for IPv4 sees what comes in of it", fanoutArgs(1, lb, 0), tpacket.ETHPIP, 3, nil, some, []int{1, 2, 1}},
			{"outgoing packets ignored", fanoutArgs(1, lb|tpacket.FanoutFlagIgnoreOutgoing, 0), tpacket.ETHPAll, 3, nil, some, []int{2, 3, 3}},
			{"eBPF without a program", fanoutArgs(1, ebpfMode, 0), tpacket.ETHPAll, 3, nil, some, []int{12, 0, 0}},
			{"classic BPF without a program", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 3, nil, some, []int{12, 0, 0}},
			{"a number", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 3, rxtest.Keep(2), some, []int{0, 0, 12}},
			{"a large number", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 7, rxtest.Keep(0xffffffff), some, []int{0, 0, 0, 12, 0, 0, 0}},
			{"the first byte: of the network header coming in, of the frame going out", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 10, ld(octet, 0), some, []int{4, 0, 4, 0, 0, 0, 0, 0, 0, 4}},
			{"16 bits further in", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 10, ld(half, 12), some, nil},
			{"32 bits further in", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 10, ld(wide, 22), some, nil},
			{"beyond the end", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 10, ld(wide, 45), some, nil},
			{"the frame's EtherType, by SKF_LL_OFF", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 10, ld(half, 0xffe0_0000+12), some, nil},
			{"the IP protocol, by SKF_NET_OFF", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 10, ld(octet, 0xfff0_0000+9), some, nil},
			{"the length", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 10, rxtest.KeepLen(), some, nil},
			{"the packet type", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 10, ld(wide, 0xffff_f004), some, []int{8, 0, 0, 0, 4, 0, 0, 0, 0, 0}},
			{"the protocol", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 10, ld(wide, 0xffff_f000), some, nil},
			{"the payload's offset", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 10, ld(wide, 0xffff_f034), some, nil},
			{"the queue: one more than its number", fanoutArgs(1, tpacket.FanoutQM, 0), tpacket.ETHPAll, 3, nil, func(w *twins) {
				for _, queue := range []int{0, 0, 0, 1, 2, 2} {
					rxtest.Must(w.t, w.tap.ReceiveOn(queue, in))
					w.dev.Deliver(&rxring.Packet{Data: in, Queue: uint16(queue) + 1})
				}
			}, []int{2, 3, 1}},
			{"the queue, by a program", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 4, ld(wide, 0xffff_f018), func(w *twins) {
				for queue := range 3 {
					rxtest.Must(w.t, w.tap.ReceiveOn(queue, in))
					w.dev.Deliver(&rxring.Packet{Data: in, Queue: uint16(queue) + 1})
				}
			}, []int{0, 1, 1, 1}},
			{"the CPU", fanoutArgs(1, tpacket.FanoutCPU, 0), tpacket.ETHPAll, 3, nil, func(w *twins) { onEachCPU(w, in) }, nil},
			{"the CPU, by a program", fanoutArgs(1, cbpfMode, 0), tpacket.ETHPAll, 3, ld(wide, 0xffff_f024), func(w *twins) { onEachCPU(w, in) }, nil},
		} {
			t.Run(c.name, func(t *testing.T) {
				w := &twins{t, w.kernel, w.tap, w.ns, w.dev}
				rings := w.group(c.members, c.protocol, c.args)
				if c.program != nil { // any member may set it
					rxtest.Must(t, kernelProgram(rings[1].kernel.Socket, c.program), rings[1].ours.SetFanoutProgram(c.program))
				}
				c.traffic(w)
				got := compareAll(t, c.name, rings)
				if c.want != nil && !slices.Equal(got, c.want) {
					t.Errorf("packets by member %v, want %v", got, c.want)
				}
				closeAll(t, rings)
			})
		}
	})
}

// onEachCPU has a frame arrive on each CPU that this process may use.
func onEachCPU(w *twins, frame []byte) {
	w.t.Helper()
	var all unix.CPUSet
	rxtest.Must(w.t, unix.SchedGetaffinity(0, &all))
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for cpu := range 1024 {
			if !all.IsSet(cpu) {
				continue
			}
			var one unix.CPUSet
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				done <- err
				return
			}
			if err := w.tap.Receive(frame); err != nil { // the kernel goes on in this very call
				done <- err
				return
			}
			w.dev.Deliver(&rxring.Packet{Data: frame, CPU: uint16(cpu)})
		}
		done <- nil
	}()
	rxtest.Must(w.t, <-done)
}

func TestMembersLeaveAsInTheKernel(t *testing.T) {
	withTwins(t, func(w *twins) {
		rings := w.group(5, tpacket.ETHPAll, fanoutArgs(1, lb, 0))
		frame := udp4(1, 2, 1000, 53)
		for _, leaves := range []int{0, 1, 2, 0} { // of those left
			rings[leaves].close(t)
			rings = slices.Delete(rings, leaves, leaves+1)
			for i := range 7 { // each packet at the same member
				w.arrives(frame)
				compareAll(t, fmt.Sprintf("%d members left, packet %d", len(rings), i), rings)
			}
		}
	})
}

func TestMembersAreSocketsOfTheirOwn(t *testing.T) {
	withTwins(t, func(w *twins) {
		raw := w.ring("raw", rxring.SockRaw, tpacket.ETHPAll)
		dgram := w.ring("dgram", rxring.SockDgram, tpacket.ETHPAll)
		filtered := w.ring("filtered", rxring.SockRaw, tpacket.ETHPAll)
		deaf := w.ring("deaf to outgoing packets, by itself", rxring.SockRaw, tpacket.ETHPAll)
		rings := []*twinRing{raw, dgram, filtered, deaf}
		for _, r := range rings {
			w.join(r, fanoutArgs(1, lb, 0))
		}
		alone := w.ring("in no group", rxring.SockRaw, tpacket.ETHPAll)
		refuse := rxtest.Keep(0)
		rxtest.Must(t, filtered.ours.AttachFilter(refuse), (&kernelSocket{filtered.kernel.Socket}).attachFilter(refuse),
			deaf.ours.Setsockopt(tpacket.SolPacket, tpacket.OptIgnoreOutgoing, rxtest.Int(1)), deaf.kernel.SetInt(tpacket.OptIgnoreOutgoing, 1))
		for range 8 {
			w.leaves(0x800, udp4(2, 1, 53, 1000))
		}
		if got := compareAll(t, "outgoing packets", rings); !slices.Equal(got, []int{2, 2, 0, 2}) {
			t.Errorf("packets by member %v: want the filter after the choice, and PACKET_IGNORE_OUTGOING the group's affair", got)
		}
		if got := alone.compare(t, "outgoing packets"); got != 8 {
			t.Errorf("%d packets beside the group, want all 8", got)
		}
		if got := filtered.ours.Totals(); got.Filtered != 2 || got.Offered() != 2 {
			t.Errorf("the filtered member was offered %+v", got)
		}
	})
}

func (s *kernelSocket) attachFilter(prog []cbpf.Instruction) error {
	return unix.SetsockoptSockFprog(s.FD, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, cbpf.SockFprog(prog))
}

func TestGroupsOnDevicesThatGoDownAsInTheKernel(t *testing.T) {
	withTwins(t, func(w *twins) {
		frame := udp4(1, 2, 1000, 53)
		in := func(what string, rings []*twinRing) {
			t.Helper()
			for i := range 2 * len(rings) {
				w.arrives(frame)
				compareAll(t, fmt.Sprintf("%s, packet %d", what, i), rings)
			}
		}
		up := func(up bool) {
			t.Helper()
			rxtest.Must(t, w.tap.SetUp(up))
			w.dev.SetUp(up)
		}
		rings := w.group(3, tpacket.ETHPAll, fanoutArgs(1, lb, 0))
		in("up", rings)
		up(false)
		late := w.ring("joined while it was down", rxring.SockRaw, tpacket.ETHPAll)
		w.join(late, fanoutArgs(1, lb, 0))
		rings = append(rings, late)
		w.dev.Deliver(&rxring.Packet{Data: frame}) // a device that is down has no packets
		up(true)
		in("up again", rings)
		up(false)
		rings[1].close(t) // not a member any more, but of the group until now
		rings = slices.Delete(rings, 1, 2)
		up(true)
		in("one closed meanwhile", rings)
		for _, r := range rings {
			args := fanoutArgs(1, lb, 0)
			if k, o := r.kernel.SetOption(tpacket.OptFanout, args), r.ours.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, args); k != unix.EALREADY || !errors.Is(o, k) {
				t.Errorf("%s joins again: %v, the kernel %v", r.name, o, k)
			}
		}

		w.tap.Close()
		rxtest.Must(t, w.ns.RemoveDevice(w.dev))
		for _, protocol := range []uint16{tpacket.ETHPAll, tpacket.ETHPIP} {
			for id := range uint16(3) { // the group of a removed device is not shared
				k, err := w.kernel.Socket(unix.SOCK_RAW, protocol)
				rxtest.Must(t, err)
				defer k.Close()
				s, err := w.ns.Socket(rxring.SockRaw, protocol)
				rxtest.Must(t, err)
				defer s.Close()
				args := fanoutArgs(id, lb, 0)
				kernel, ours := k.SetOption(tpacket.OptFanout, args), s.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, args)
				if errors.Is(ours, syscall.EINVAL) != (kernel == unix.EINVAL) || (ours == nil) != (kernel == nil) {
					t.Errorf("device gone, protocol %#x, group %d: %v, the kernel %v", protocol, id, ours, kernel)
				}
			}
		}
		for _, r := range rings {
			want, err := r.kernel.Option(tpacket.OptFanout, make([]byte, 4))
			got := make([]byte, 4)
			_, ourErr := r.ours.Getsockopt(tpacket.SolPacket, tpacket.OptFanout, got)
			rxtest.Must(t, err, ourErr)
			if !slices.Equal(got, want) {
				t.Errorf("%s, its device gone: PACKET_FANOUT is % x, the kernel's % x", r.name, got, want)
			}
		}
	})
}

// TestAGroupOfSocketsWhoseDeviceIsGone: such sockets may join, and make a group of
// sockets on all devices, as far as Linux can tell.
func TestAGroupOfSocketsWhoseDeviceIsGone(t *testing.T) {
	withTwins(t, func(w *twins) {
		widow := w.ring("its device is gone", rxring.SockRaw, tpacket.ETHPAll)
		w.tap.Close()
		rxtest.Must(t, w.ns.RemoveDevice(w.dev))
		w.join(widow, fanoutArgs(1, lb, 0))
		w.dev = rxtest.AddDevice(t, w.ns, rxring.DeviceConfig{Name: "tap1", HardwareAddr: rxtest.OwnAddr})
		tap, err := w.kernel.TAP("tap1", w.dev.Index(), rxtest.OwnAddr)
		rxtest.Must(t, err)
		defer tap.Close()
		w.tap = tap
		other := w.ring("on the new device", rxring.SockRaw, tpacket.ETHPAll)
		args := fanoutArgs(1, lb, 0)
		if k, o := other.kernel.SetOption(tpacket.OptFanout, args), other.ours.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, args); k != unix.EINVAL || !errors.Is(o, k) {
			t.Errorf("who is bound to a device joins: %v, the kernel %v", o, k)
		}
		k, err := w.kernel.Socket(unix.SOCK_RAW, tpacket.ETHPAll)
		rxtest.Must(t, err)
		defer k.Close()
		s, err := w.ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		defer s.Close()
		rxtest.Must(t, k.SetOption(tpacket.OptFanout, args), s.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, args))
		for range 3 {
			w.arrives(udp4(1, 2, 1000, 53))
		}
		raw, err := k.Option(tpacket.OptStatistics, make([]byte, tpacket.SizeofStats))
		rxtest.Must(t, err)
		if want, got := tpacket.Parse[tpacket.Stats](raw), s.Statistics(); want.Packets != got.Packets || got.Packets != 3 {
			t.Errorf("who is on all devices has %d packets, the kernel's %d; want all 3: the other has no device to get any from", got.Packets, want.Packets)
		}
		if n := widow.compare(t, "after its device is gone"); n != 0 {
			t.Errorf("%d packets", n)
		}
	})
}
