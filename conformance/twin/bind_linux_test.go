package twin_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// state is what a program can see of a socket from outside: poll's bits for
// reading and errors, and its name.
func (s *twinSocket) state() (ours, kernel string) {
	s.t.Helper()
	fds := []unix.PollFd{{Fd: int32(s.kernel.FD), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, 0); err != unix.EINTR {
			rxtest.Must(s.t, err)
			break
		}
	}
	name := make([]byte, unix.SizeofSockaddrAny)
	n := uint32(len(name))
	if _, _, errno := unix.Syscall(unix.SYS_GETSOCKNAME, uintptr(s.kernel.FD), uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(&n))); errno != 0 {
		s.t.Fatal(errno)
	}
	a := s.ours.Addr()
	return fmt.Sprintf("poll %#x, name %s", s.ours.Events(), hex.EncodeToString(tpacket.Bytes(&a)[:12+a.Halen])),
		fmt.Sprintf("poll %#x, name %s", fds[0].Revents, hex.EncodeToString(name[:n]))
}

// TestDevicesGoDownAndAwayAsTheKernels sets a device up and down, binds, lets
// packets come and receives at random, takes the device away at the end, and
// wants the same after every step.
func TestDevicesGoDownAndAwayAsTheKernels(t *testing.T) {
	withTwins(t, func(w *twins) {
		seed := rand.Uint64()
		rnd := rand.New(rand.NewPCG(seed, 0))
		var steps []string
		defer func() {
			if t.Failed() {
				t.Logf("seed %d, the last steps: %s", seed, strings.Join(steps[max(0, len(steps)-12):], "; "))
			}
		}()
		sockets := []*twinSocket{
			w.socket("raw", rxring.SockRaw, tpacket.ETHPAll),
			w.socket("dgram", rxring.SockDgram, 0),
			w.socket("ring", rxring.SockRaw, tpacket.ETHPAll),
		}
		frame := rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ipPacket(17, 60))
		do := func(step string, f func()) {
			steps = append(steps, step)
			f()
			for _, s := range sockets {
				ours, kernel := s.state()
				for range 100 { // a packet may be on its way
					if ours == kernel {
						break
					}
					time.Sleep(time.Millisecond)
					ours, kernel = s.state()
				}
				if ours != kernel {
					t.Fatalf("after %s, %s: %s; the kernel's: %s", step, s.name, ours, kernel)
				}
			}
		}
		index := w.dev.Index()
		random := func() {
			s := sockets[rnd.IntN(len(sockets))]
			switch k := rnd.IntN(12); k {
			case 0, 1:
				up := k == 0
				do(fmt.Sprint("up ", up), func() {
					w.dev.SetUp(up)
					rxtest.Must(t, w.tap.SetUp(up))
				})
			case 2, 3, 4:
				ifindex := []int{index, index, index, 0, 99}[rnd.IntN(5)]
				protocol := []uint16{0, tpacket.ETHPAll, tpacket.ETHPIP, tpacket.ETHPARP}[rnd.IntN(4)]
				do(fmt.Sprintf("bind %s to %d, %#x", s.name, ifindex, protocol), func() {
					err := s.ours.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(ifindex), Protocol: tpacket.Htons(protocol)})
					if want := s.kernel.Bind(ifindex, protocol); rxtest.Errno(err) != rxtest.Errno(want) {
						t.Errorf("bind: %v, the kernel %v", err, want)
					}
				})
			case 5, 6, 7:
				do("packet", func() {
					if w.dev.Up() {
						w.arrives(frame)
					} else {
						w.dev.Deliver(&rxring.Packet{Data: frame})
					}
				})
			case 8, 9, 10:
				flags := []rxring.RecvFlags{0, rxring.MsgPeek, rxring.MsgErrQueue, 1}[rnd.IntN(4)]
				do(fmt.Sprintf("receive from %s, flags %#x", s.name, flags), func() { s.recv("receive", 100, 0, flags) })
			case 11:
				do("SO_ERROR of "+s.name, func() { s.get(rxtest.SolSocket, 4, make([]byte, 4)) })
			}
		}
		for i := range 400 {
			if i == 200 {
				req := tpacket.Req{BlockSize: 4096, BlockNr: 64, FrameSize: 256, FrameNr: 1024}
				do("a ring", func() { sockets[2].set(tpacket.SolPacket, tpacket.OptRxRing, tpacket.Bytes(&req)) })
			}
			random()
		}
		do("the device goes away", func() {
			w.tap.Close()
			rxtest.Must(t, w.ns.RemoveDevice(w.dev))
		})
		for _, s := range sockets {
			do("SO_ERROR of "+s.name, func() { s.get(rxtest.SolSocket, 4, make([]byte, 4)) })
			do("drop its membership", func() { s.set(tpacket.SolPacket, tpacket.OptDropMembership, rxtest.Mreq(index, 1, 0)) })
			do("add one", func() { s.set(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(index, 1, 0)) })
			for _, protocol := range []uint16{0, tpacket.ETHPARP, tpacket.ETHPIP} {
				do("bind to all", func() {
					rxtest.Must(t, s.ours.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Protocol: tpacket.Htons(protocol)}), s.kernel.Bind(0, protocol))
				})
			}
		}
	})
}

// TestSniffersGoOnThroughADeviceThatGoesDown: the ring stays, its packets too.
func TestSniffersGoOnThroughADeviceThatGoesDown(t *testing.T) {
	withTwins(t, func(w *twins) {
		r := w.ring("ring", rxring.SockRaw, tpacket.ETHPAll)
		frame := rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ipPacket(17, 60))
		w.arrives(frame)
		setUp := func(up bool) {
			w.dev.SetUp(up)
			rxtest.Must(t, w.tap.SetUp(up))
		}
		setUp(false)
		if ours, kernel := r.state(); ours != kernel || r.ours.Events() != rxring.EventIn|rxring.EventErr {
			t.Errorf("down: %s; the kernel's: %s", ours, kernel)
		}
		if n := r.compare(t, "the packet before"); n != 1 {
			t.Errorf("%d packets", n)
		}
		r.get(rxtest.SolSocket, 4, make([]byte, 4))
		setUp(true)
		w.arrives(frame)
		if n := r.compare(t, "the packet after"); n != 1 {
			t.Errorf("%d packets", n)
		}
		mem := bytes.Clone(r.ours.Ring().Memory().Bytes())
		rxtest.Must(t, w.ns.RemoveDevice(w.dev))
		w.dev.Deliver(&rxring.Packet{Data: frame})
		if !bytes.Equal(mem, r.ours.Ring().Memory().Bytes()) {
			t.Error("a device that was removed delivers")
		}
		w.tap.Close()
		r.get(rxtest.SolSocket, 4, make([]byte, 4))
	})
}
