package rxring_test

import (
	"context"
	"encoding/binary"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// blocksRequest is a V3 ring of four blocks that nobody's timer retires.
var blocksRequest = tpacket.Req3{
	Req:          tpacket.Req{BlockSize: 1 << 14, BlockNr: 4, FrameSize: 1 << 14, FrameNr: 4},
	RetireBlkTov: 1 << 30,
}

func openV3(t testing.TB, ns *rxring.Namespace, r tpacket.Req3) (*rxring.Socket, *ring.Reader) {
	t.Helper()
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	must(t, s.SetVersion(tpacket.V3), s.SetRxRing3(r))
	rd, err := s.NewReader()
	must(t, err)
	return s, rd
}

func expire(s *rxring.Socket) { s.Ring().(*ring.Blocks).Expire() }

// TestRxhashOnRequest: TP_FT_REQ_FILL_RXHASH, and nothing without it.
func TestRxhashOnRequest(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := addDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	with := blocksRequest
	with.FeatureReqWord = tpacket.FeatureFillRxhash
	s, rd := openV3(t, ns, with)
	plain, plainReader := openV3(t, ns, blocksRequest)
	flow := func(port uint16) []byte {
		b := frame(60)
		b[12], b[13] = 0x08, 0x00
		b[14], b[14+9] = 0x45, 17
		binary.BigEndian.PutUint16(b[14+20:], port)
		return b
	}
	dev.Deliver(&rxring.Packet{Data: flow(1000)})
	dev.Deliver(&rxring.Packet{Data: flow(1000)})
	dev.Deliver(&rxring.Packet{Data: flow(1001)})
	dev.Deliver(&rxring.Packet{Data: flow(1001), Hash: 77})
	expire(s)
	expire(plain)
	var hashes []uint32
	for range 4 {
		f := next(t, rd)
		hashes = append(hashes, f.Hash)
		f.Release()
		f = next(t, plainReader)
		if f.Hash != 0 {
			t.Errorf("hash %#x that nobody asked for", f.Hash)
		}
		f.Release()
	}
	if hashes[0] == 0 || hashes[0] != hashes[1] || hashes[2] == hashes[0] || hashes[3] != 77 {
		t.Errorf("hashes %#x: want two of one flow, one of another, and the packet's own", hashes)
	}
}

// TestV3ReaderSleepsUntilTheTimer: a packet in a block that is not full reaches
// its reader after tp_retire_blk_tov, without a look in between.
func TestV3ReaderSleepsUntilTheTimer(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := addDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	r := blocksRequest
	for _, tov := range []uint32{0, 1, 20} { // 0: 8
		r.RetireBlkTov = tov
		s, rd := openV3(t, ns, r)
		dev.Deliver(&rxring.Packet{Data: frame(60)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		must(t, rd.Wait(ctx))
		cancel()
		f := next(t, rd)
		f.Release()
		must(t, s.Close())
	}
}

// TestStatisticsCountFreezes: tp_freeze_q_cnt, cleared by reading it, also of a
// ring that has gone.
func TestStatisticsCountFreezes(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := addDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, _ := openV3(t, ns, blocksRequest)
	for s.Totals().Dropped() < 3 {
		dev.Deliver(&rxring.Packet{Data: frame(1500)})
	}
	var buf [16]byte
	n, err := s.Getsockopt(tpacket.SolPacket, tpacket.OptStatistics, buf[:])
	must(t, err)
	st := tpacket.Parse[tpacket.Stats3](buf[:n])
	if n != tpacket.SizeofStats3 || st.FreezeQCount != 1 || st.Drops != 3 || uint64(st.Packets) != s.Totals().Captured+3 {
		t.Errorf("%d bytes: %+v", n, st)
	}
	must(t, s.SetRxRing(tpacket.Req{}))
	if st := s.Statistics(); st != (tpacket.Stats3{}) {
		t.Errorf("read again: %+v", st)
	}
	must(t, s.SetRxRing3(blocksRequest))
	for s.Totals().Dropped() < 4 {
		dev.Deliver(&rxring.Packet{Data: frame(1500)})
	}
	must(t, s.SetRxRing(tpacket.Req{}))
	if st := s.Statistics(); st.FreezeQCount != 1 || st.Drops != 1 {
		t.Errorf("of a ring that has gone: %+v", st)
	}
}

func TestV3HasNoSlotsToMark(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	must(t, err)
	defer s.Close()
	must(t, s.SetVersion(tpacket.V3), s.SetKernelOwned(true))
	if err := s.SetRxRing3(blocksRequest); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("kernel-owned V3 ring: %v, want %v", err, syscall.EINVAL)
	}
}

func TestV3BatchIsAsManyDeliveries(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := addDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, rd := openV3(t, ns, blocksRequest)
	var ps []rxring.Packet
	for i := range 70 {
		b := frame(100)
		b[99] = byte(i)
		ps = append(ps, rxring.Packet{Data: b})
	}
	dev.DeliverBatch(ps)
	expire(s)
	for i := range ps {
		f := next(t, rd)
		if f.Data[99] != byte(i) {
			t.Fatalf("packet %d is number %d", i, f.Data[99])
		}
		f.Release()
	}
}

func TestV3DeliverAllocatesNothing(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := addDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	r := blocksRequest
	r.FeatureReqWord = tpacket.FeatureFillRxhash
	s, rd := openV3(t, ns, r)
	data := frame(700)
	if allocs := testing.AllocsPerRun(1000, func() { dev.Deliver(&rxring.Packet{Data: data}); drain(rd) }); allocs != 0 {
		t.Errorf("%v allocations a packet", allocs)
	}
	if s.Totals().Dropped() != 0 {
		t.Errorf("dropped: %+v", s.Totals())
	}
}
