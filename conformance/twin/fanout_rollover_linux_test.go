package twin_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/rxtest"
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
	rxtest.Must(w.t, err)
	w.t.Cleanup(func() { k.Close() })
	rxtest.Must(w.t, k.Bind(w.dev.Index(), tpacket.ETHPAll), k.SetOption(tpacket.OptFanout, args))
	s, err := w.ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(w.t, err)
	w.t.Cleanup(func() { s.Close() })
	rxtest.Must(w.t, s.SetVersion(v), s.SetRxRing3(req), s.BindDevice(w.dev, tpacket.ETHPAll), s.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, args))
	rd, err := s.NewReader()
	rxtest.Must(w.t, err)
	return &roller{k, s, rd, 0}
}

// queueRoller is a roller without a ring.
func (w *twins) queueRoller(rcvbuf int, args []byte) *roller {
	w.t.Helper()
	k, err := w.kernel.Socket(unix.SOCK_RAW, 0)
	rxtest.Must(w.t, err)
	w.t.Cleanup(func() { k.Close() })
	rxtest.Must(w.t, unix.SetsockoptInt(k.FD, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf), k.Bind(w.dev.Index(), tpacket.ETHPAll), k.SetOption(tpacket.OptFanout, args))
	s, err := w.ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(w.t, err)
	w.t.Cleanup(func() { s.Close() })
	rxtest.Must(w.t, s.Setsockopt(unix.SOL_SOCKET, unix.SO_RCVBUF, rxtest.Int(int32(rcvbuf))), s.BindDevice(w.dev, tpacket.ETHPAll), s.Setsockopt(tpacket.SolPacket, tpacket.OptFanout, args))
	return &roller{kernel: &kring.Ring{Socket: k}, ours: s}
}

// take gives n frames back to the writers, or n blocks of a V3 ring, or receives
// n packets.
func (r *roller) take(t *testing.T, n int) {
	t.Helper()
	if r.reader == nil {
		for range n {
			b := make([]byte, 1)
			if ready, err := r.kernel.Socket.Poll(5 * time.Second); !ready || err != nil {
				t.Fatalf("no packet in the kernel: %v", err)
			}
			_, err := r.kernel.Recv(b, 0)
			_, ours := r.ours.Recv(b, 0)
			rxtest.Must(t, err, ours)
		}
		return
	}
	v3 := r.kernel.Geometry.Version == tpacket.V3
	slots := r.kernel.Geometry.FrameNr
	if v3 {
		slots = r.kernel.Geometry.BlockNr
	}
	for range n {
		rxtest.Must(t, r.kernel.Wait(r.at, 5*time.Second))
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

// TestLongStoriesOfRollingOver has members of all kinds read and poll at random,
// and packets of all sizes arrive.
func TestLongStoriesOfRollingOver(t *testing.T) {
	need.Time(t, "the stories are long")
	withTwins(t, func(w *twins) {
		for _, mode := range []struct {
			name string
			args []byte
		}{
			{"rollover", fanoutArgs(1, rolloverMode, 0)},
			{"in turn, and rollover", fanoutArgs(1, lb|flagRollover, 0)},
		} {
			for _, kind := range []string{"rings", "queues"} {
				t.Run(mode.name+", "+kind, func(t *testing.T) {
					w := &twins{t, w.kernel, w.tap, w.ns, w.dev}
					seed := rand.Uint64()
					t.Logf("seed %d", seed)
					draw := rand.New(rand.NewPCG(seed, 0)).IntN
					const members = 4
					var rollers []*roller
					for range members {
						if kind == "rings" {
							rollers = append(rollers, w.roller(tpacket.V2, mode.args))
						} else {
							rollers = append(rollers, w.queueRoller(20000, mode.args))
						}
					}
					var held [members]int    // packets in each
					var polled [members]bool // since the last were taken from it
					for step := range 2000 {
						m := draw(members)
						switch draw(6) {
						case 0:
							n := min(draw(held[m]+4), held[m])
							rollers[m].take(t, n)
							held[m] -= n
							if polled[m] = held[m] == 0; polled[m] {
								rollers[m].poll(t)
							}
						case 1:
							rollers[m].poll(t)
							polled[m] = true
						default:
							// Where Linux forgets a member that has room, packets are
							// lost there, and not here: see below. So one must be
							// known to have some, or all must have polled.
							known := false
							for m, n := range held {
								known = known || polled[m] && (n == 0 || n < 12 && kind == "rings")
							}
							for m := range members {
								if !known {
									rollers[m].poll(t)
									polled[m] = true
								}
							}
							frame := udp4(1, 2, uint16(step), 53)
							if kind == "queues" {
								frame = append(frame, make([]byte, draw(2000))...)
							}
							w.arrives(frame)
						}
						for i, n := range same(t, fmt.Sprintf("step %d", step), rollers) {
							held[i] += n
						}
						if t.Failed() {
							t.FailNow()
						}
					}
					for _, r := range rollers {
						rxtest.Must(t, r.ours.Close(), r.kernel.Close())
					}
				})
			}
		}
	})
}

// TestReceivingMakesRoomKnown: of three members that are full, the last reads all
// and polls, the first receives a few packets and does not. From so many on it is
// the one that gets the next packet.
func TestReceivingMakesRoomKnown(t *testing.T) {
	withTwins(t, func(w *twins) {
		const rcvbuf = 10700 // room for the small packet comes before that for the large one which is being received
		large := append(udp4(1, 2, 1000, 53), make([]byte, 1400)...)
		firstKnown := -1
		for n := range 10 {
			var m []*roller
			for range 3 {
				m = append(m, w.queueRoller(rcvbuf, fanoutArgs(1, rolloverMode, 0)))
			}
			send := func(packets int, frame []byte) (kept []int) {
				for range packets {
					w.arrives(frame)
				}
				return same(t, fmt.Sprintf("%d received", n), m)
			}
			held := send(50, large)
			m[0].take(t, held[0])
			m[0].poll(t)
			held[0] = send(50, large)[0] // the others have no room: this is where a search begins from now on
			m[2].take(t, held[2])
			m[2].poll(t)
			m[0].take(t, min(n, held[0]))
			if got := send(1, udp4(1, 2, 1000, 53)); got[0] == 1 && firstKnown < 0 {
				firstKnown = n
			}
			for _, r := range m {
				rxtest.Must(t, r.ours.Close(), r.kernel.Close())
			}
		}
		if firstKnown < 2 {
			t.Errorf("room is known after %d packets received: want it to take some", firstKnown)
		}
	})
}

// same wants both sides' members to have seen the same number of packets since
// the last call, dropped ones apart, and the same to be said of rolling over.
// Of packets that were not dropped it returns how many there are.
func same(t *testing.T, what string, rollers []*roller) (kept []int) {
	t.Helper()
	for i, r := range rollers {
		n := tpacket.SizeofStats
		if r.kernel.Geometry.Version == tpacket.V3 {
			n = tpacket.SizeofStats3
		}
		raw, err := r.kernel.Option(tpacket.OptStatistics, make([]byte, n))
		rxtest.Must(t, err)
		want, got := tpacket.Parse[tpacket.Stats](raw), r.ours.Statistics()
		if (tpacket.Stats{Packets: got.Packets, Drops: got.Drops}) != want {
			t.Errorf("%s: member %d: statistics %+v, the kernel's %+v", what, i, got, want)
		}
		kept = append(kept, int(want.Packets-want.Drops))
		raw, err = r.kernel.Option(tpacket.OptRolloverStats, make([]byte, tpacket.SizeofRolloverStats))
		rxtest.Must(t, err)
		ro, err := rxtest.RolloverStats(r.ours)
		rxtest.Must(t, err)
		if want := tpacket.Parse[tpacket.RolloverStats](raw); ro != want {
			t.Errorf("%s: member %d: rollover %+v, the kernel's %+v", what, i, ro, want)
		}
	}
	return kept
}

func TestRollingOverAsTheKernelDoes(t *testing.T) {
	need.Time(t, "it makes many calls on the kernel")
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
							rxtest.Must(t, r.ours.Close(), r.kernel.Close())
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
		rxtest.Must(t, err)
		if got := tpacket.Parse[tpacket.Stats](raw); got != (tpacket.Stats{Packets: 5, Drops: 5}) {
			t.Errorf("the kernel's member 0: %+v: does Linux look for room now? Then this difference can go", got)
		}
		if got := rollers[1].ours.Statistics(); got != (tpacket.Stats3{Packets: 5}) {
			t.Errorf("member 1: %+v: want the packets that there is room for", got)
		}
	})
}
