package rxring_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
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

// FuzzTransmitRing: whatever a program writes into a transmit ring, what leaves lies
// in the frame that it asked for, and every frame has a status of Linux's after it.
func FuzzTransmitRing(f *testing.F) {
	good := make([]byte, 1360)
	h := tpacket.Header2At(good)
	h.Status, h.Len, h.Mac, h.Net = tpacket.StatusSendRequest, 60, 32, 32
	copy(good[32:], rxtest.Frame(60))
	f.Add(uint8(1), uint8(0), good)
	f.Add(uint8(5), uint8(7), good)
	h.Len, h.Mac = 1<<32-1, 65535
	f.Add(uint8(1), uint8(2), good)
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	eth := rxtest.AddDevice(f, ns, rxring.DeviceConfig{Name: "eth0"})
	raw := rxtest.AddDevice(f, ns, rxring.DeviceConfig{Name: "tun0", Type: rxring.RawIP})
	receiver, rd := rxtest.Open(f, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	rxtest.Must(f, receiver.BindDevice(eth, tpacket.ETHPAll))
	const frameSize, frames = 1360, 3
	f.Fuzz(func(t *testing.T, shape, options uint8, content []byte) {
		typ, dev := rxring.SockRaw, eth
		if shape&4 != 0 {
			typ = rxring.SockDgram
		}
		if shape&8 != 0 {
			dev = raw
		}
		v := tpacket.Version(shape % 3)
		s := rxtest.OpenSender(t, ns, dev, typ)
		rxtest.Must(t, s.SetVersion(v))
		for i, o := range []int{tpacket.OptLoss, tpacket.OptTxHasOff, tpacket.OptQdiscBypass} {
			rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, o, rxtest.Int(int32(options>>i&1))))
		}
		if options&8 != 0 && typ == rxring.SockRaw {
			rxtest.Must(t, rxtest.SetInt(s, tpacket.OptVnetHdrSz, 10+int(options>>4&1)*2))
		}
		rxtest.Must(t, s.SetTxRing(tpacket.Req{BlockSize: 4096, BlockNr: 1, FrameSize: frameSize, FrameNr: frames}))
		mem := s.TxRing().Memory().Bytes()
		copy(mem, content)
		before := bytes.Clone(mem)
		left := 0
		dev.SetTransmit(func(p *rxring.Packet) error {
			left++
			data := p.Data
			if typ == rxring.SockDgram && dev == eth {
				data = data[14:]
			}
			if p.Checksum == rxring.ChecksumPartial {
				if int(p.ChecksumStart)+int(p.ChecksumOffset)+2 > len(p.Data) {
					t.Errorf("checksum at %d+%d of %d bytes", p.ChecksumStart, p.ChecksumOffset, len(p.Data))
				}
				return nil // it may have been written to
			}
			if !bytes.Contains(before, data) {
				t.Errorf("% x left, which is nowhere in the ring", data)
			}
			return nil
		})
		to := &tpacket.SockaddrLL{Ifindex: int32(dev.Index()), Protocol: tpacket.Htons(0x800)}
		n, err := s.SendTo(nil, to)
		if err == nil && n < 0 || err != nil && n != 0 || left > frames {
			t.Errorf("Send = %d, %v; %d frames left", n, err, left)
		}
		if errno := syscall.Errno(0); err != nil && !errors.As(err, &errno) {
			t.Errorf("%v has no errno", err)
		}
		for f, ok := rd.Next(); ok; f, ok = rd.Next() {
			f.Release()
		}
		rxtest.Must(t, s.Close())
	})
}
