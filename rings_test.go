package rxring_test

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// TestRxhashOnRequest: TP_FT_REQ_FILL_RXHASH, and nothing without it.
func TestRxhashOnRequest(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	with := rxtest.BlocksRequest
	with.FeatureReqWord = tpacket.FeatureFillRxhash
	s, rd := rxtest.OpenV3(t, ns, with)
	plain, plainReader := rxtest.OpenV3(t, ns, rxtest.BlocksRequest)
	flow := func(port uint16) []byte {
		b := rxtest.Frame(60)
		b[12], b[13] = 0x08, 0x00
		b[14], b[14+9] = 0x45, 17
		binary.BigEndian.PutUint16(b[14+20:], port)
		return b
	}
	dev.Deliver(&rxring.Packet{Data: flow(1000)})
	dev.Deliver(&rxring.Packet{Data: flow(1000)})
	dev.Deliver(&rxring.Packet{Data: flow(1001)})
	dev.Deliver(&rxring.Packet{Data: flow(1001), Hash: 77})
	rxtest.Expire(s)
	rxtest.Expire(plain)
	var hashes []uint32
	for range 4 {
		f := rxtest.Next(t, rd)
		hashes = append(hashes, f.Hash)
		f.Release()
		f = rxtest.Next(t, plainReader)
		if f.Hash != 0 {
			t.Errorf("hash %#x without a request", f.Hash)
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
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	r := rxtest.BlocksRequest
	for _, tov := range []uint32{0, 1, 20} { // 0: 8
		r.RetireBlkTov = tov
		s, rd := rxtest.OpenV3(t, ns, r)
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		rxtest.Must(t, rd.Wait(ctx))
		cancel()
		f := rxtest.Next(t, rd)
		f.Release()
		rxtest.Must(t, s.Close())
	}
}

// TestStatisticsCountFreezes: tp_freeze_q_cnt, cleared by reading it, also of a
// ring that has gone.
func TestStatisticsCountFreezes(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, _ := rxtest.OpenV3(t, ns, rxtest.BlocksRequest)
	for s.Totals().Dropped() < 3 {
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(1500)})
	}
	var buf [16]byte
	n, err := s.Getsockopt(tpacket.SolPacket, tpacket.OptStatistics, buf[:])
	rxtest.Must(t, err)
	st := tpacket.Parse[tpacket.Stats3](buf[:n])
	if n != tpacket.SizeofStats3 || st.FreezeQCount != 1 || st.Drops != 3 || uint64(st.Packets) != s.Totals().Captured+3 {
		t.Errorf("%d bytes: %+v", n, st)
	}
	rxtest.Must(t, s.SetRxRing(tpacket.Req{}))
	if st := s.Statistics(); st != (tpacket.Stats3{}) {
		t.Errorf("read again: %+v", st)
	}
	rxtest.Must(t, s.SetRxRing3(rxtest.BlocksRequest))
	for s.Totals().Dropped() < 4 {
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(1500)})
	}
	rxtest.Must(t, s.SetRxRing(tpacket.Req{}))
	if st := s.Statistics(); st.FreezeQCount != 1 || st.Drops != 1 {
		t.Errorf("of a ring that has gone: %+v", st)
	}
}

func TestV3BatchIsAsManyDeliveries(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, rd := rxtest.OpenV3(t, ns, rxtest.BlocksRequest)
	var ps []rxring.Packet
	for i := range 70 {
		b := rxtest.Frame(100)
		b[99] = byte(i)
		ps = append(ps, rxring.Packet{Data: b})
	}
	dev.DeliverBatch(ps)
	rxtest.Expire(s)
	for i := range ps {
		f := rxtest.Next(t, rd)
		if f.Data[99] != byte(i) {
			t.Fatalf("packet %d is number %d", i, f.Data[99])
		}
		f.Release()
	}
}

func TestV3DeliverAllocatesNothing(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	r := rxtest.BlocksRequest
	r.FeatureReqWord = tpacket.FeatureFillRxhash
	s, rd := rxtest.OpenV3(t, ns, r)
	data := rxtest.Frame(700)
	if allocs := testing.AllocsPerRun(1000, func() { dev.Deliver(&rxring.Packet{Data: data}); rxtest.Drain(rd) }); allocs != 0 {
		t.Errorf("%v allocations a packet", allocs)
	}
	if s.Totals().Dropped() != 0 {
		t.Errorf("dropped: %+v", s.Totals())
	}
}

// TestHostileReadersHarmNoOtherReader has four writers deliver while one reader
// scribbles over its whole ring, one never reads, one closes in the middle, and
// a lawful one must see every packet that its ring accepted, whole.
func TestHostileReadersHarmNoOtherReader(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	open := func() (*rxring.Socket, *ring.Reader) {
		return rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 2048, FrameNr: 32})
	}
	lawful, lawfulReader := open()
	scribbler, _ := open()
	sleeper, _ := open()
	dying, _ := open()

	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	var stop atomic.Bool
	read := uint64(0)
	readers.Go(func() {
		for {
			f, ok := lawfulReader.Next()
			if !ok {
				if lawfulReader.Wait(ctx) == nil {
					continue
				}
				if f, ok = lawfulReader.Next(); !ok {
					return
				}
			}
			for _, b := range f.Data[14:] {
				if b != f.Data[14] {
					t.Errorf("torn packet: % x", f.Data)
					break
				}
			}
			f.Release()
			read++
		}
	})
	readers.Go(func() {
		mem := scribbler.Ring().Memory().Bytes()
		words := unsafe.Slice((*uint32)(unsafe.Pointer(&mem[0])), len(mem)/4)
		for v := uint32(0); !stop.Load(); v = v*1664525 + 1013904223 {
			for i := range words {
				atomic.StoreUint32(&words[i], v>>(i%32))
			}
			runtime.Gosched()
		}
	})
	const each = 20000
	for w := range 4 {
		writers.Go(func() {
			data := rxtest.Frame(600)
			for i := range each {
				for j := 14; j < len(data); j++ {
					data[j] = byte(w*64 + i%64)
				}
				dev.Deliver(&rxring.Packet{Data: data[:200], Rest: [][]byte{data[200:]}, Outgoing: i%2 == 0})
				if w == 0 && i == each/2 {
					rxtest.Must(t, dying.Close())
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	cancel()
	readers.Wait()
	for name, s := range map[string]*rxring.Socket{"lawful": lawful, "scribbler": scribbler, "sleeper": sleeper} {
		if got := s.Totals(); got.Offered() != 4*each {
			t.Errorf("%s: %+v adds up to %d, offered were %d", name, got, got.Offered(), 4*each)
		}
	}
	if got := lawful.Totals(); got.Captured != read {
		t.Errorf("lawful reader read %d packets, its ring took %d", read, got.Captured)
	}
	if got := sleeper.Totals(); got.Captured != 32 {
		t.Errorf("the unread ring took %d packets, want its 32 slots' worth", got.Captured)
	}
	t.Logf("lawful %+v, scribbler %+v, dying %+v", lawful.Totals(), scribbler.Totals(), dying.Totals())
}

func TestMemoryOfClosedSocketsCanBeUsedAgain(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 8192})
	for range 100 {
		s, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
		rxtest.Must(t, s.SetRxRing(tpacket.Req{}), s.SetRxRing(rxtest.SmallRing), s.Close())
	}
}
