package twin_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// kernelHears is the receive filter of a kernel's device.
type kernelHears struct {
	promiscuity, allmulti uint32
	groups                []string
}

func (w *twins) kernelHears() (h kernelHears) {
	rxtest.Must(w.t, w.kernel.Do(func() error {
		const iflaPromiscuity, iflaAllmulti = 30, 61
		rib, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(rib)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type != syscall.RTM_NEWLINK || int(binary.NativeEndian.Uint32(m.Data[4:])) != w.dev.Index() {
				continue
			}
			attrs, err := syscall.ParseNetlinkRouteAttr(&m)
			if err != nil {
				return err
			}
			for _, a := range attrs {
				switch a.Attr.Type {
				case iflaPromiscuity:
					h.promiscuity = binary.NativeEndian.Uint32(a.Value)
				case iflaAllmulti:
					h.allmulti = binary.NativeEndian.Uint32(a.Value)
				}
			}
		}
		list, err := os.ReadFile("/proc/thread-self/net/dev_mcast")
		for line := range strings.Lines(string(list)) {
			f := strings.Fields(line) // index, name, users, global users, address
			if f[1] == "tap0" && f[4] != "01005e000001" && f[4] != "333300000001" {
				h.groups = append(h.groups, f[4])
			}
		}
		return err
	}))
	return h
}

var (
	group2 = []byte{0x33, 0x33, 0, 0, 0, 5}
	other  = []byte{2, 0, 0, 0, 0, 9}
)

// TestUnicastMembershipsAreHeard: errnos and packet types are the kernel's; that
// its TAP becomes promiscuous for them is a TAP's, which has no list.
func TestUnicastMembershipsAreHeard(t *testing.T) {
	withTwins(t, func(w *twins) {
		s := w.socket("raw", rxring.SockRaw, tpacket.ETHPAll)
		s.set(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(w.dev.Index(), 3, 6, other...))
		if k := w.kernelHears(); !w.dev.AcceptsDst([6]byte(other)) || w.dev.Promiscuous() {
			t.Errorf("heard: %v, promiscuous %v; the kernel %+v", w.dev.AcceptsDst([6]byte(other)), w.dev.Promiscuous(), k)
		}
		for _, dst := range [][]byte{other, {2, 7, 7, 7, 7, 7}, rxtest.Group} {
			w.arrives(rxtest.TaggedFrame([6]byte(dst), 0x800, ipPacket(17, 60)))
			s.wait()
			s.recv("a packet to another host", 100, 0, 0)
		}
		s.set(tpacket.SolPacket, tpacket.OptDropMembership, rxtest.Mreq(w.dev.Index(), 3, 6, other...))
		if w.dev.AcceptsDst([6]byte(other)) {
			t.Error("heard after the membership was dropped")
		}
	})
}

// TestMembershipsAreTheKernels adds and drops memberships at random on two
// sockets: errnos are the kernel's, and so is what the device then listens to.
func TestMembershipsAreTheKernels(t *testing.T) {
	withTwins(t, func(w *twins) {
		seed := rand.Uint64()
		rnd := rand.New(rand.NewPCG(seed, 0))
		defer func() {
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		}()
		sockets := []*twinSocket{w.socket("a", rxring.SockRaw, 0), w.socket("b", rxring.SockDgram, 0)}
		indexes := []int{w.dev.Index(), w.dev.Index(), w.dev.Index(), w.dev.Index(), 99, -1, 0}
		for i := range 1500 {
			if i%300 == 299 { // closing drops all
				k := i / 300 % 2
				sockets[k].close()
				sockets[k] = w.socket(fmt.Sprint("after step ", i), rxring.SockRaw, 0)
			}
			if i%100 == 50 {
				w.dev.SetUp(i%200 == 150)
				rxtest.Must(t, w.tap.SetUp(i%200 == 150))
			}
			typ := uint16([]int{0, 0, 1, 2, 3, 9}[rnd.IntN(6)])
			alen := uint16([]int{0, 6, 6, 6, 3, 5, 7, 8, 32, 33, 65535}[rnd.IntN(11)])
			addr := slices.Clone([][]byte{rxtest.Group, rxtest.Group, group2, other, nil}[rnd.IntN(5)])
			if typ == 3 && alen == 6 {
				// A TAP has no list of unicast addresses: it becomes promiscuous.
				// See TestUnicastMembershipsAreHeard.
				alen = 7
			}
			if rnd.IntN(10) == 0 {
				addr = append(append(addr, make([]byte, 8-len(addr))...), byte(rnd.IntN(2)))
			}
			if rnd.IntN(10) == 0 {
				addr = append(addr, make([]byte, 40)...)
			}
			val := rxtest.Mreq(indexes[rnd.IntN(len(indexes))], typ, alen, addr...)
			if rnd.IntN(20) == 0 {
				val = val[:rnd.IntN(len(val))]
			}
			option := tpacket.OptAddMembership + rnd.IntN(2)
			sockets[rnd.IntN(2)].set(tpacket.SolPacket, option, val)

			k := w.kernelHears()
			if w.dev.Promiscuous() != (k.promiscuity > 0) || w.dev.AllMulticast() != (k.allmulti > 0) {
				t.Fatalf("step %d: promiscuous %v, allmulti %v; the kernel %+v", i, w.dev.Promiscuous(), w.dev.AllMulticast(), k)
			}
			for _, group := range [][]byte{rxtest.Group, group2} {
				want := k.promiscuity > 0 || k.allmulti > 0 || slices.Contains(k.groups, hex.EncodeToString(group))
				if got := w.dev.AcceptsDst([6]byte(group)); w.dev.Up() && got != want {
					t.Fatalf("step %d: receives % x: %v; the kernel %+v", i, group, got, k)
				}
			}
		}
	})
}
