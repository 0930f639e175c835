package rxring_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// member is a socket in a fanout group with a V2 ring, and its reader.
type member struct {
	*rxring.Socket
	reader *ring.Reader
}

// fanoutOf is a device with a group of n members, whose rings have so many slots
// of 512 bytes.
func fanoutOf(t testing.TB, n int, slots uint32, c rxring.FanoutConfig) (*rxring.Device, []member) {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", HardwareAddr: [6]byte{2, 0, 0, 0, 0, 1}})
	var members []member
	for range n {
		s, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 4096, BlockNr: slots / 8, FrameSize: 512, FrameNr: slots})
		rxtest.Must(t, s.BindDevice(dev, tpacket.ETHPAll), s.JoinFanout(c))
		members = append(members, member{s, rd})
	}
	return dev, members
}

// counts is how many packets each member was offered so far.
func counts(members []member) (n []int) {
	for _, m := range members {
		n = append(n, int(m.Totals().Offered()))
	}
	return n
}

// flowFrame is a packet of a flow between two hosts, one way or the other, over
// IPv4 or IPv6.
func flowFrame(flow uint32, back bool) []byte {
	src, dst := []byte{10, byte(flow >> 16), byte(flow >> 8), byte(flow)}, []byte{192, 0, 2, 1}
	sport, dport := uint16(1024+flow%60000), uint16(443)
	if back {
		src, dst, sport, dport = dst, src, dport, sport
	}
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00}
	if flow%3 == 0 {
		b[12], b[13] = 0x86, 0xdd
		b = append(b, 0x60, 0, 0, 0, 0, 20, 6, 64)
		for _, addr := range [][]byte{src, dst} {
			b = append(append(b, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0), addr...)
		}
	} else {
		b = append(b, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0)
		b = append(append(b, src...), dst...)
	}
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	return append(b, make([]byte, 16)...)
}

// TestEveryFlowIsAtOneMember: 10000 flows, both ways, in single packets and in
// batches, in one piece and in several.
func TestEveryFlowIsAtOneMember(t *testing.T) {
	const flows, n = 10000, 7
	dev, members := fanoutOf(t, n, 8, rxring.FanoutConfig{Mode: rxring.FanoutHash})
	at := make([]int, flows) // member, counted from 1
	seen := counts(members)
	where := func(what string, flow, packets int) {
		t.Helper()
		now := counts(members)
		for i := range now {
			switch now[i] - seen[i] {
			case 0:
			case packets:
				if at[flow] == 0 {
					at[flow] = i + 1
				}
				if at[flow] != i+1 {
					t.Fatalf("flow %d, %s: at member %d, was at %d", flow, what, i, at[flow]-1)
				}
				seen = now
				return
			default:
				t.Fatalf("flow %d, %s: %d packets of %d at member %d", flow, what, now[i]-seen[i], packets, i)
			}
		}
		t.Fatalf("flow %d, %s: at no member", flow, what)
	}
	for flow := range flows {
		there, back := flowFrame(uint32(flow), false), flowFrame(uint32(flow), true)
		dev.Deliver(&rxring.Packet{Data: there})
		where("there", flow, 1)
		dev.Deliver(&rxring.Packet{Data: back, Outgoing: true})
		where("back", flow, 1)
		// A card's hash is its own affair: it need not be the same both ways.
		dev.DeliverBatch([]rxring.Packet{{Data: there, Hash: 1}, {Data: back, Hash: 2}, {Data: back[:20], Rest: [][]byte{back[20:23], back[23:]}}})
		where("in a batch", flow, 3)
	}
	for i, got := range counts(members) { // 7143 each, if they were spread evenly
		if got < flows*5/n/2 {
			t.Errorf("member %d has %d packets of %d: want about as many as the others", i, got, flows*5)
		}
	}
}

func TestFanoutInTurnIsExact(t *testing.T) {
	for _, batch := range []bool{false, true} {
		dev, members := fanoutOf(t, 3, 8, rxring.FanoutConfig{Mode: rxring.FanoutLB})
		var wg sync.WaitGroup
		const writers, each = 4, 3000
		for range writers {
			wg.Go(func() {
				if !batch {
					for range each {
						dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64)})
					}
					return
				}
				ps := make([]rxring.Packet, 50) // more than a batch takes at once
				for i := range ps {
					ps[i].Data = rxtest.Frame(64)
				}
				for range each / len(ps) {
					dev.DeliverBatch(ps)
				}
			})
		}
		wg.Wait()
		if got := counts(members); !slices.Equal(got, []int{4000, 4000, 4000}) {
			t.Errorf("batches %v: %v packets by member, want 4000 each", batch, got)
		}
	}
}

// TestBatchesOfAGroupAreAsManyDeliveries: each member has the same packets in the
// same order, whether they came one by one or in batches.
func TestBatchesOfAGroupAreAsManyDeliveries(t *testing.T) {
	for mode := rxring.FanoutHash; mode <= rxring.FanoutEBPF; mode++ {
		for _, flags := range []rxring.FanoutFlags{0, rxring.FanoutFlagRollover, rxring.FanoutFlagIgnoreOutgoing, rxring.FanoutFlagDefrag} {
			if mode == rxring.FanoutRnd || mode == rxring.FanoutRollover && flags == rxring.FanoutFlagRollover {
				continue
			}
			t.Run(fmt.Sprintf("mode %d, flags %#x", mode, flags), func(t *testing.T) {
				var got [2][][]byte
				for batched := range got {
					dev, members := fanoutOf(t, 3, 16, rxring.FanoutConfig{Mode: mode, Flags: flags})
					if mode == rxring.FanoutCBPF {
						rxtest.Must(t, members[0].SetFanoutProgram(rxtest.KeepLen()))
					}
					ps := make([]rxring.Packet, 100)
					for i := range ps {
						ps[i] = rxring.Packet{Data: flowFrame(uint32(i), i%2 == 0), Timestamp: int64(1 + i), CPU: uint16(i), Queue: uint16(i / 2), Outgoing: i%5 == 0}
						if i%3 != 0 {
							ps[i].Data = ps[i].Data[:len(ps[i].Data)-i%7]
						}
						if i == 40 || i == 41 {
							ps[i].Data = slices.Clone(flowFrame(1, false))
							ps[i].Data[20] = byte(0x20 * (41 - i)) // two fragments
							ps[i].Data[21] = byte(20 / 8 * (i - 40))
						}
					}
					ps[7].Data = nil // for nobody
					if batched == 1 {
						dev.DeliverBatch(ps)
					} else {
						for i := range ps {
							dev.Deliver(&ps[i])
						}
					}
					for i, m := range members {
						for f, ok := m.reader.Next(); ok; f, ok = m.reader.Next() {
							got[batched] = append(got[batched], fmt.Appendf(nil, "member %d, packet %d: % x", i, f.UnixNano(), f.Data))
							f.Release()
						}
						got[batched] = append(got[batched], fmt.Appendf(nil, "member %d: %+v", i, m.Totals()))
					}
				}
				if mode == rxring.FanoutHash { // seeded alike: the process has one seed
					t.Logf("%d lines", len(got[0]))
				}
				if !slices.EqualFunc(got[0], got[1], slices.Equal) {
					t.Errorf("one by one:\n%s\nin batches:\n%s", lines(got[0]), lines(got[1]))
				}
			})
		}
	}
}

func lines(b [][]byte) (s string) {
	for _, line := range b {
		s += fmt.Sprintf("%.120s\n", line)
	}
	return s
}

// TestNothingIsLostWhileAnyMemberHasRoom: a packet may be dropped only when no
// member has the slot a quarter of its ring ahead, which is what Linux calls room.
func TestNothingIsLostWhileAnyMemberHasRoom(t *testing.T) {
	for _, c := range []rxring.FanoutConfig{
		{Mode: rxring.FanoutRollover},
		{Mode: rxring.FanoutLB, Flags: rxring.FanoutFlagRollover},
		{Mode: rxring.FanoutHash, Flags: rxring.FanoutFlagRollover},
		{Mode: rxring.FanoutRnd, Flags: rxring.FanoutFlagRollover},
	} {
		t.Run(fmt.Sprintf("mode %d", c.Mode), func(t *testing.T) {
			const slots = 16
			dev, members := fanoutOf(t, 4, slots, c)
			read := make([]int, len(members))
			held := func(m int) int { return int(members[m].Totals().Captured) - read[m] }
			var lost, delivered int
			for i := range 20000 {
				if rand.IntN(12) == 0 { // a reader reads some, and does not poll
					m := rand.IntN(len(members))
					for range rand.IntN(held(m) + 1) {
						f := rxtest.Next(t, members[m].reader)
						f.Release()
						read[m]++
					}
				}
				room := false
				for m := range members {
					room = room || held(m) < slots-slots/4
				}
				dev.Deliver(&rxring.Packet{Data: flowFrame(uint32(i), false)})
				dropped := 0
				for _, m := range members {
					dropped += int(m.Totals().Dropped())
				}
				switch {
				case dropped == lost:
					delivered++
				case room:
					t.Fatalf("packet %d dropped, though a member had room", i)
				}
				lost = dropped
			}
			if lost == 0 || delivered < 1000 {
				t.Errorf("%d lost, %d not: want both to happen", lost, delivered)
			}
		})
	}
}

// TestAHugeFlowMakesWay: a member that is short of room passes on the packets of
// a flow with most of them, and keeps the others'.
func TestAHugeFlowMakesWay(t *testing.T) {
	dev, members := fanoutOf(t, 2, 16, rxring.FanoutConfig{Mode: rxring.FanoutCBPF, Flags: rxring.FanoutFlagRollover})
	small, big := members[0], members[1]
	deliver := func(flow uint32) { dev.Deliver(&rxring.Packet{Data: flowFrame(flow, false)}) }
	for range 14 { // from now on the first member, whom all are for, is short of room
		deliver(1)
	}
	if got := counts(members); !slices.Equal(got, []int{14, 0}) {
		t.Fatalf("%v packets by member, want all at the first: there is room, and no flow is known to be huge", got)
	}
	for range 1000 {
		before := small.Totals().Captured
		deliver(1)
		if small.Totals().Captured == before {
			break
		}
		f := rxtest.Next(t, small.reader)
		f.Release()
	}
	if st, err := rxtest.RolloverStats(small.Socket); err != nil || st != (tpacket.RolloverStats{All: 1, Huge: 1}) {
		t.Fatalf("%+v, %v: want the first packet of the huge flow to go elsewhere", st, err)
	}
	before := small.Totals().Captured
	deliver(2)
	if got := big.Totals().Captured; got != 1 || small.Totals().Captured != before+1 {
		t.Errorf("a small flow made way, too: %v", counts(members))
	}
	// What the caller says of the flow counts here, as skb->hash does in Linux.
	dev.Deliver(&rxring.Packet{Data: flowFrame(1, false), Hash: 77})
	if got := big.Totals().Captured; got != 1 {
		t.Errorf("a flow with a hash of its own made way: %v", counts(members))
	}
}

// TestMembersComeAndGoWhilePacketsArrive is for the race detector. As long as one
// member stays, every packet is at a member.
func TestMembersComeAndGoWhilePacketsArrive(t *testing.T) {
	for _, c := range []rxring.FanoutConfig{
		{Mode: rxring.FanoutHash}, {Mode: rxring.FanoutLB}, {Mode: rxring.FanoutRollover}, {Mode: rxring.FanoutCBPF},
		{Mode: rxring.FanoutRnd, Flags: rxring.FanoutFlagRollover | rxring.FanoutFlagDefrag},
	} {
		t.Run(fmt.Sprintf("mode %d", c.Mode), func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
			var all []*rxring.Socket
			join := func() {
				s, err := ns.Socket(rxring.SockRaw, 0)
				rxtest.Must(t, err, s.SetVersion(tpacket.V2), s.SetRxRing(rxtest.SmallRing), s.BindDevice(dev, tpacket.ETHPAll), s.JoinFanout(c))
				all = append(all, s)
			}
			join() // and stay
			var offered atomic.Uint64
			ctx, stop := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					for i := uint32(0); i == 0 || ctx.Err() == nil; i += 3 {
						dev.Deliver(&rxring.Packet{Data: flowFrame(i, false)})
						dev.DeliverBatch([]rxring.Packet{{Data: flowFrame(i+1, false)}, {Data: flowFrame(i+2, true)}})
						offered.Add(3)
					}
				})
			}
			for i := range 200 {
				join()
				s := all[len(all)-1]
				s.Readable()
				if c.Mode == rxring.FanoutCBPF {
					rxtest.Must(t, s.SetFanoutProgram(rxtest.Keep(uint32(i))))
				}
				if i%3 != 0 {
					all[1+i/2].Close() // or again
				}
			}
			stop()
			wg.Wait()
			var got uint64
			for _, s := range all {
				got += s.Totals().Offered() // a socket has all packets between Bind and JoinFanout
				s.Close()
			}
			if got < offered.Load() {
				t.Errorf("%d packets at members, %d offered", got, offered.Load())
			}
		})
	}
}

func TestDeliverToAGroupAllocatesNothing(t *testing.T) {
	for mode := rxring.FanoutHash; mode <= rxring.FanoutEBPF; mode++ {
		for _, flags := range []rxring.FanoutFlags{0, rxring.FanoutFlagRollover, rxring.FanoutFlagDefrag} {
			if mode == rxring.FanoutRollover && flags == rxring.FanoutFlagRollover {
				continue
			}
			dev, members := fanoutOf(t, 3, 16, rxring.FanoutConfig{Mode: mode, Flags: flags})
			if mode == rxring.FanoutCBPF {
				rxtest.Must(t, members[0].SetFanoutProgram(rxtest.KeepLen()))
			}
			ps := make([]rxring.Packet, 40)
			for i := range ps {
				ps[i].Data = flowFrame(uint32(i), false)
			}
			tagged := rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, flowFrame(1, false)[14:], 0x8100, 5)
			got := testing.AllocsPerRun(100, func() {
				dev.Deliver(&ps[0])
				dev.Deliver(&rxring.Packet{Data: tagged})
				dev.DeliverBatch(ps)
			})
			if got != 0 {
				t.Errorf("mode %d, flags %#x: %v allocations", mode, flags, got)
			}
		}
	}
}

// TestAPacketPutTogetherIsTheFirstFragmentGrown, at the time and on the CPU of the
// one that came last.
func TestAPacketPutTogetherIsTheFirstFragmentGrown(t *testing.T) {
	first, last := flowFrame(1, false), flowFrame(1, false)
	first[20], last[21] = 0x20, 20/8 // more fragments; 16 bytes of payload before
	first[17] = 36                   // 16 of 20 bytes of payload
	for _, batch := range []bool{false, true} {
		for _, stamped := range []int64{0, 9} {
			dev, members := fanoutOf(t, 3, 8, rxring.FanoutConfig{Mode: rxring.FanoutCPU, Flags: rxring.FanoutFlagDefrag})
			ps := []rxring.Packet{
				{Data: first, Timestamp: 5, CPU: 1, VLAN: rxring.VLAN{TPID: 0x8100, TCI: 7}, Outgoing: true},
				{Data: last[:40], Rest: [][]byte{last[40:]}, Timestamp: stamped, CPU: 2, Outgoing: true},
			}
			if batch {
				dev.DeliverBatch(ps)
			} else {
				dev.Deliver(&ps[0])
				dev.Deliver(&ps[1])
			}
			if got := counts(members); !slices.Equal(got, []int{0, 0, 1}) {
				t.Fatalf("%v packets by member, want one at that of the last fragment's CPU", got)
			}
			f := rxtest.Next(t, members[2].reader)
			if f.Len != 14+20+36 || f.VLANTCI != 7 || f.From.Pkttype != tpacket.PacketOutgoing {
				t.Errorf("%+v", f)
			}
			if marked := f.Status&tpacket.StatusTSSoftware != 0; marked != (stamped != 0) || stamped != 0 && f.UnixNano() != stamped || stamped == 0 && f.UnixNano() == 0 {
				t.Errorf("time %d, status %#x: want the last fragment's, which is %d", f.UnixNano(), f.Status, stamped)
			}
		}
	}
}

// TestFragmentsKeepWhatIsBesideTheFrame: a packet that is put together from fragments
// has the link-layer address of the first, though its source reuses the memory.
func TestFragmentsKeepWhatIsBesideTheFrame(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "cooked", Type: tpacket.ARPHRDPPP})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t, s.BindDevice(dev, tpacket.ETHPAll), s.JoinFanout(rxring.FanoutConfig{Mode: rxring.FanoutLB, Flags: rxring.FanoutFlagDefrag}))
	fragment := func(offset, flags byte) []byte {
		h := []byte{0x45, 0, 0, 36, 0, 7, flags, offset, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
		sum := uint32(0)
		for i := 0; i < len(h); i += 2 {
			sum += uint32(h[i])<<8 | uint32(h[i+1])
		}
		sum = sum&0xffff + sum>>16
		h[10], h[11] = byte(^sum>>8), byte(^sum)
		return append(h, make([]byte, 16)...)
	}
	link := rxring.Link{Protocol: tpacket.ETHPIP, Hatype: tpacket.ARPHRDLoopback, Ifindex: 77, AddrLen: 1, Addr: [8]byte{9}}
	dev.Deliver(&rxring.Packet{Data: fragment(0, 0x20), Link: &link})
	link.Ifindex, link.Addr = 78, [8]byte{8}
	dev.Deliver(&rxring.Packet{Data: fragment(2, 0), Link: &link})

	b := make([]byte, 100)
	m, err := s.Recv(b, 0)
	rxtest.Must(t, err)
	if m.Copied != 52 || m.From.Ifindex != 77 || m.From.Hatype != tpacket.ARPHRDLoopback || m.From.Addr[0] != 9 {
		t.Errorf("%d bytes from %+v, want 52 from device 77 of type %d, address 9", m.Copied, m.From, tpacket.ARPHRDLoopback)
	}
}

// TestFlowHashOfCommonPackets: packets of common form are hashed without a walk through their
// headers, and must get the hash of the walk: others of their flow are walked through.
func TestFlowHashOfCommonPackets(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	rxtest.Must(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	hashes := map[uint32]bool{}
	for range 20000 {
		data := rxtest.Frame(14 + random.IntN(60))
		for i := 14; i < len(data); i++ {
			data[i] = byte(random.Uint32())
		}
		head := data[14:]
		for i, b := range []byte{0x45 + byte(random.IntN(8)/7), 0, 0, 60, 0, 0, []byte{0, 0x40, 0x20}[random.IntN(3)], byte(random.IntN(8) / 7), 64, []byte{6, 17, 132}[random.IntN(3)]} {
			if i < len(head) {
				head[i] = b
			}
		}
		p := rxring.Packet{Data: data}
		if cut := 14 + random.IntN(60); cut < len(data) && random.IntN(4) == 0 {
			p.Data, p.Rest = data[:cut], [][]byte{data[cut:]}
		}
		hash, walked := rxring.FlowHashes(dev, &p)
		if hash != walked {
			t.Fatalf("%x in %d pieces: hash %#x: want %#x, that of the walk", data, 1+len(p.Rest), hash, walked)
		}
		hashes[hash] = true
		if len(head) >= 24 && head[0] == 0x45 { // the other way
			src, dst := [4]byte(head[12:]), [4]byte(head[16:])
			copy(head[12:], dst[:])
			copy(head[16:], src[:])
			if back, _ := rxring.FlowHashes(dev, &rxring.Packet{Data: data}); len(p.Rest) == 0 && back != hash {
				t.Fatalf("%x: hash %#x, and %#x the other way", data, hash, back)
			}
		}
	}
	if len(hashes) < 10000 {
		t.Errorf("%d different hashes of 20000 packets", len(hashes))
	}
}
