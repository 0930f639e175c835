package rxring_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// roller is a member of a group that rolls over, on both sides.
type roller struct {
	kernel *kring.Ring
	ours   *rxring.Socket
	reader *ring.Reader
	at     uint32 // the kernel's next frame or block
}

func (w *twins) roller(v tpacket.Version, args []byte) *roller {
	w.t.Helper()
	req := tpacket.Req3{Req: tpacket.Req{BlockSize: 4096, BlockNr: 4, FrameSize: 1024, FrameNr: 16}, RetireBlkTov: 1 << 20}
	if v == tpacket.V3 {
		req.FrameSize, req.FrameNr = 4096, 4
	}
	k, err := w.kernel.OpenRing(kring.RingConfig{Type: unix.SOCK_RAW, Version: v, Request: req})
	must(w.t, err)
	w.t.Cleanup(func() { k.Close() })
	must(w.t, k.Bind(w.dev.Index(), tpacket.ETHPAll), k.SetOption(tpacket.OptFanout, args))
	s, err := w.ns.Socket(rxring.SockRaw, 0)
	must(w.t, err)
	w.t.Cleanup(func() { s.Close() })
	must(w.t, s.SetVersion(v), s.SetRxRing3(req), s.BindDevice(w.dev, tpacket.ETHPAll), s.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, args))
	rd, err := s.NewReader()
	must(w.t, err)
	return &roller{k, s, rd, 0}
}

// take gives n frames back to the writers, or n blocks of a V3 ring.
func (r *roller) take(t *testing.T, n int) {
	t.Helper()
	v3 := r.kernel.Geometry.Version == tpacket.V3
	slots := r.kernel.Geometry.FrameNr
	if v3 {
		slots = r.kernel.Geometry.BlockNr
	}
	for range n {
		must(t, r.kernel.Wait(r.at, 5*time.Second))
		packets := uint32(1)
		if v3 {
			packets = tpacket.Parse[tpacket.BlockDesc](r.kernel.Block(r.at)).NumPkts
		}
		r.kernel.Release(r.at)
		r.at = (r.at + 1) % slots
		for range packets {
			f, ok := r.reader.Next()
			if !ok {
				t.Fatal("the kernel has a packet for the reader, and we have none")
			}
			f.Release()
		}
	}
}

func (r *roller) poll(t *testing.T) {
	t.Helper()
	got, err := r.kernel.Poll(0)
	if ours := r.ours.Readable(); err != nil || got != ours {
		t.Errorf("readable %v, in the kernel %v, %v", ours, got, err)
	}
}

// same wants both sides' members to have seen the same number of packets since
// the last call, dropped ones apart, and the same to be said of rolling over.
func same(t *testing.T, what string, rollers []*roller) {
	t.Helper()
	for i, r := range rollers {
		n := tpacket.SizeofStats
		if r.kernel.Geometry.Version == tpacket.V3 {
			n = tpacket.SizeofStats3
		}
		raw, err := r.kernel.Option(tpacket.OptStatistics, make([]byte, n))
		must(t, err)
		want, got := tpacket.Parse[tpacket.Stats](raw), r.ours.Statistics()
		if (tpacket.Stats{Packets: got.Packets, Drops: got.Drops}) != want {
			t.Errorf("%s: member %d: statistics %+v, the kernel's %+v", what, i, got, want)
		}
		raw, err = r.kernel.Option(tpacket.OptRolloverStats, make([]byte, tpacket.SizeofRolloverStats))
		must(t, err)
		ro, err := r.ours.RolloverStats()
		must(t, err)
		if want := tpacket.Parse[tpacket.RolloverStats](raw); ro != want {
			t.Errorf("%s: member %d: rollover %+v, the kernel's %+v", what, i, ro, want)
		}
	}
}

func TestRollingOverAsTheKernelDoes(t *testing.T) {
	withTwins(t, func(w *twins) {
		for _, mode := range []struct {
			name string
			args []byte
		}{
			{"rollover", fanoutArgs(1, rolloverMode, 0)},
			{"in turn, and rollover", fanoutArgs(1, lb|flagRollover, 0)},
		} {
			for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3} {
				for members := 1; members <= 4; members++ {
					t.Run(fmt.Sprintf("%s, %v, %d members", mode.name, v, members), func(t *testing.T) {
						w := &twins{t, w.kernel, w.tap, w.ns, w.dev}
						var rollers []*roller
						for range members {
							rollers = append(rollers, w.roller(v, mode.args))
						}
						n := 0
						send := func(packets int) {
							t.Helper()
							for range packets {
								w.arrives(udp4(1, 2, uint16(n), 53)) // no two of one flow: none is huge
								n++
								same(t, fmt.Sprintf("packet %d", n), rollers)
								if t.Failed() {
									t.FailNow()
								}
							}
						}
						fill := 20 * members
						if v == tpacket.V3 {
							fill = 120 * members // 30 in a block
						}
						send(fill)
						for i, r := range rollers { // each reads what there is, and asks for more
							take := 1 + 3*i
							if v == tpacket.V3 {
								take = 1 + i%3
							}
							r.take(t, take)
							r.poll(t)
							send(fill / 4)
						}
						for _, r := range rollers {
							must(t, r.ours.Close(), r.kernel.Close())
						}
					})
				}
			}
		}
	})
}

// TestAMemberWithRoomIsNotForgotten is a difference that is wanted: Linux leaves
// out a member that it saw short of room until the member's program polls or
// receives, and loses packets meanwhile. Here, what would be lost goes to it.
func TestAMemberWithRoomIsNotForgotten(t *testing.T) {
	withTwins(t, func(w *twins) {
		rollers := []*roller{w.roller(tpacket.V2, fanoutArgs(1, rolloverMode, 0)), w.roller(tpacket.V2, fanoutArgs(1, rolloverMode, 0))}
		send := func(n int) {
			for range n {
				w.arrives(udp4(1, 2, 1000, 53))
			}
		}
		send(40)
		same(t, "both full", rollers)
		rollers[1].take(t, 12) // read, and not asked for more

		send(5)
		raw, err := rollers[0].kernel.Option(tpacket.OptStatistics, make([]byte, tpacket.SizeofStats))
		must(t, err)
		if got := tpacket.Parse[tpacket.Stats](raw); got != (tpacket.Stats{Packets: 5, Drops: 5}) {
			t.Errorf("the kernel's member 0: %+v: does Linux look for room now? Then this difference can go", got)
		}
		if got := rollers[1].ours.Statistics(); got != (tpacket.Stats3{Packets: 5}) {
			t.Errorf("member 1: %+v: want the packets that there is room for", got)
		}
	})
}
