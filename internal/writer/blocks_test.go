package writer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// blocksOf makes a ring of n blocks of a page each.
func blocksOf(t testing.TB, n uint32, c writer.BlocksConfig) *writer.Blocks {
	t.Helper()
	g := tpacket.Geometry{Version: tpacket.V3, BlockSize: 4096, BlockNr: n, FrameSize: 4096, FrameNr: n, FramesPerBlock: 1}
	b, err := writer.NewBlocks(ringmem.NewHeap(g.Size()), g, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

const blockPacketHeader = 48 + 20 // struct tpacket3_hdr and sockaddr_ll

// putBlockPacket writes the header of a packet whose data is all that is behind
// the headers, and returns where that lies.
func putBlockPacket(frame []byte, n uint32) []byte {
	h := tpacket.Header3At(frame)
	*h = tpacket.Header3{NextOffset: uint32(len(frame)), Snaplen: n - blockPacketHeader, Len: n - blockPacketHeader, Status: tpacket.StatusUser, Mac: blockPacketHeader, Net: blockPacketHeader}
	return frame[blockPacketHeader:n]
}

func mustRoom(t testing.TB, b *writer.Blocks, n uint32) writer.Reservation {
	t.Helper()
	m, v := b.Acquire(n)
	if v != ring.Acquired {
		t.Fatalf("Acquire(%d) = %v, want acquired", n, v)
	}
	return m
}

// acquireAll reserves the bytes of as many packets as there is room for at once, and returns those
// of each: by Acquire if there is one.
func acquireAll(b *writer.Blocks, sizes []uint32) (m writer.Reservation, frames [][]byte) {
	n, v := 1, ring.Acquired
	if len(sizes) == 1 {
		m, v = b.Acquire(sizes[0])
	} else {
		m, n, v = b.AcquireBatch(sizes)
	}
	if v != ring.Acquired {
		return m, nil
	}
	rest := b.Bytes(m)
	for _, size := range sizes[:n] {
		size = writer.AlignedSize(size)
		frames = append(frames, rest[:size:size])
		rest = rest[size:]
	}
	return m, frames
}

// TestBatchesOfBlocks: batches leave the ring as the same packets do one by one, and are refused
// where those are.
func TestBatchesOfBlocks(t *testing.T) {
	one, batch := blocksOf(t, 4, writer.BlocksConfig{}), blocksOf(t, 4, writer.BlocksConfig{})
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		sizes := make([]uint32, 2+rng.IntN(30))
		for k := range sizes {
			sizes[k] = blockPacketHeader + rng.Uint32N(1500)
		}
		if round%10 == 0 {
			sizes[rng.IntN(len(sizes))] = batch.MaxFrame()
		}
		dropped := [2]int{}
		for _, size := range sizes {
			if m, v := one.Acquire(size); v == ring.Acquired {
				putBlockPacket(one.Bytes(m), size)
				one.Release(m)
			} else {
				dropped[0]++
			}
		}
		for left := sizes; len(left) > 0; {
			m, frames := acquireAll(batch, left)
			if frames == nil {
				dropped[1]++
				left = left[1:]
				continue
			}
			for k, frame := range frames {
				putBlockPacket(frame, left[k])
			}
			batch.Release(m)
			left = left[len(frames):]
		}
		if dropped[0] != dropped[1] || one.Captured() != batch.Captured() {
			t.Fatalf("round %d: dropped %d, captured %d and %d", round, dropped, one.Captured(), batch.Captured())
		}
		for _, b := range []*writer.Blocks{one, batch} { // times differ
			for i := range uint32(4) {
				b.Desc(i).First, b.Desc(i).Last = tpacket.Timestamp{}, tpacket.Timestamp{}
			}
		}
		if !bytes.Equal(one.Memory().Bytes(), batch.Memory().Bytes()) {
			t.Fatalf("round %d: the rings differ", round)
		}
		if round%3 == 0 { // a reader hands everything back
			for i := range uint32(4) {
				one.SetStatus(i, tpacket.StatusKernel)
				batch.SetStatus(i, tpacket.StatusKernel)
			}
		}
	}
	if n := one.Captured(); n < 1000 || one.FreezeCount() == 0 {
		t.Errorf("%d packets captured: the ring was never full", n)
	}
	empty := blocksOf(t, 4, writer.BlocksConfig{})
	if _, n, v := empty.AcquireBatch([]uint32{empty.MaxFrame() + 1, 100}); n != 0 || v != ring.NoRoom {
		t.Errorf("a packet larger than a block: %d, %v", n, v)
	}
}

// TestBlocksGoToTheReaderWhole: many writers, one lawful reader, every packet
// read once, in order, with its bytes.
func TestBlocksGoToTheReaderWhole(t *testing.T) {
	var n notify.Notify
	b := blocksOf(t, 4, writer.BlocksConfig{Retire: time.Millisecond, Wake: n.Wake})
	rd := writer.NewReader(b, &n)
	const writers, each = 4, 20000
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			got := 0
			for i := 0; i < each; {
				sizes := make([]uint32, 1+w%2*rng.IntN(8)) // half of the writers have batches
				for k := range sizes {
					sizes[k] = blockPacketHeader + 16 + rng.Uint32N(900)
				}
				m, frames := acquireAll(b, sizes)
				if frames == nil {
					runtime.Gosched()
					i++
					continue
				}
				for k, frame := range frames {
					data := putBlockPacket(frame, sizes[k])
					binary.NativeEndian.PutUint64(data, uint64(w))
					binary.NativeEndian.PutUint64(data[8:], uint64(i))
					for k := range data[16:] {
						data[16+k] = byte(w*31 + i + k)
					}
					i++
				}
				b.Release(m)
				got += len(frames)
			}
			mu.Lock()
			accepted += got
			mu.Unlock()
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	read := 0
	last := [writers]int64{-1, -1, -1, -1}
	check := func(f ring.Frame) {
		w, i := binary.NativeEndian.Uint64(f.Data), int64(binary.NativeEndian.Uint64(f.Data[8:]))
		if w >= writers || i <= last[w] {
			t.Fatalf("packet %d of writer %d after %d", i, w, last[w])
		}
		last[w] = i
		for k, v := range f.Data[16:] {
			if v != byte(int(w)*31+int(i)+k) {
				t.Fatalf("packet %d of writer %d: byte %d is %#x", i, w, k, v)
			}
		}
		f.Release()
		read++
	}
	finished := false
	for !finished || b.Captured() != uint64(read) {
		select {
		case <-done:
			finished = true
		default:
		}
		wait, stop := context.WithTimeout(ctx, 5*time.Millisecond)
		err := rd.Wait(wait)
		stop()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			t.Fatalf("Wait: %v, %v", err, ctx.Err())
		}
		for f, ok := rd.Next(); ok; f, ok = rd.Next() {
			check(f)
		}
	}
	if read != accepted || read == 0 {
		t.Errorf("%d read, %d accepted", read, accepted)
	}
	t.Logf("%d of %d packets went through 4 blocks", read, writers*each)
}

// TestSlowWriterKeepsItsBlock is the commit's race: a writer that wraps the ring
// must not get the block that a slower one still fills, and nobody waits.
func TestSlowWriterKeepsItsBlock(t *testing.T) {
	b := blocksOf(t, 2, writer.BlocksConfig{})
	n := notify.Notify{}
	rd := writer.NewReader(b, &n)
	slow := mustRoom(t, b, 1000)
	putBlockPacket(b.Bytes(slow), 1000)
	accepted := 1
	for range 10 {
		m, v := b.Acquire(2000)
		if v == ring.Acquired {
			putBlockPacket(b.Bytes(m), 2000)
			b.Release(m)
			accepted++
			continue
		}
		if v != ring.Owned {
			t.Fatalf("Acquire = %v, want slot still owned", v)
		}
	}
	if f, ok := rd.Next(); ok {
		t.Fatalf("read a packet of %d bytes out of a block that is being filled", len(f.Data))
	}
	b.Release(slow)
	read := 0
	for f, ok := rd.Next(); ok; f, ok = rd.Next() {
		f.Release()
		read++
	}
	if m, v := b.Acquire(4000); v != ring.Acquired {
		t.Errorf("after the slow writer is done: %v", v)
	} else {
		b.Release(m)
	}
	if read != accepted {
		t.Errorf("%d read, %d accepted", read, accepted)
	}
}

func TestFreezeAndThaw(t *testing.T) {
	b := blocksOf(t, 2, writer.BlocksConfig{})
	for range 2 {
		b.Release(mustRoom(t, b, 4000))
	}
	for range 3 {
		if _, v := b.Acquire(4000); v != ring.Full {
			t.Fatalf("Acquire on a full ring = %v", v)
		}
	}
	if got := b.FreezeCount(); got != 1 {
		t.Errorf("FreezeCount = %d, want 1", got)
	}
	if got := b.FreezeCount(); got != 0 {
		t.Errorf("second FreezeCount = %d, want 0", got)
	}
	rd := writer.NewReader(b, new(notify.Notify))
	f, ok := rd.Next()
	if !ok {
		t.Fatal("nothing to read")
	}
	f.Release()
	b.Expire() // thaws
	b.Release(mustRoom(t, b, 100))
	if !b.Readable() {
		t.Error("not readable with a block at the reader")
	}
}

func TestExpireRetiresWhatIsThere(t *testing.T) {
	woken := 0
	b := blocksOf(t, 2, writer.BlocksConfig{Wake: func() { woken++ }, Losing: func() bool { return true }})
	rd := writer.NewReader(b, new(notify.Notify))
	b.Expire()
	if _, ok := rd.Next(); ok || b.Readable() || woken != 0 {
		t.Fatal("an empty block was retired")
	}
	m := mustRoom(t, b, 100)
	putBlockPacket(b.Bytes(m), 100)
	b.Expire()
	if _, ok := rd.Next(); ok || woken != 0 {
		t.Fatal("a block was handed over with a writer in it")
	}
	b.Release(m)
	d := tpacket.Parse[tpacket.BlockDesc](b.Memory().Bytes())
	if want := uint32(tpacket.StatusUser | tpacket.StatusBlkTmo | tpacket.StatusLosing); d.Status != want || d.NumPkts != 1 || woken != 1 {
		t.Errorf("block has status %#x and %d packets, %d woken: want %#x, 1, 1", d.Status, d.NumPkts, woken, want)
	}
	if f, ok := rd.Next(); !ok || len(f.Data) != 100-blockPacketHeader {
		t.Errorf("Next = %d bytes, %v", len(f.Data), ok)
	}
}

// TestScribbledBlocks: whatever a hostile program stores to the shared memory, the
// reader stays within it, no writer stores outside its own reservation, every packet
// is counted, and the ring works again once all blocks are handed back.
func TestScribbledBlocks(t *testing.T) {
	g := tpacket.Geometry{Version: tpacket.V3, BlockSize: 4096, BlockNr: 3, FrameSize: 4096, FrameNr: 3, FramesPerBlock: 1}
	m := ringmem.NewHeap(g.Size() + 4096) // the last page is not the ring's
	mem, beyond := m.Bytes()[:g.Size()], m.Bytes()[g.Size():]
	b, err := writer.NewBlocks(m, g, writer.BlocksConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	start := uintptr(unsafe.Pointer(&mem[0]))
	inside := func(what string, p []byte) (at int) {
		if len(p) == 0 {
			return 0
		}
		from := uintptr(unsafe.Pointer(&p[0])) - start
		if from >= uintptr(len(mem)) || from+uintptr(len(p)) > uintptr(len(mem)) {
			t.Fatalf("%s: %d bytes at %d of %d", what, len(p), from, len(mem))
		}
		return int(from)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	rd := writer.NewReader(b, new(notify.Notify))
	held := map[writer.Reservation]int{} // and where it begins
	accepted, read := uint64(0), 0
	for range 200000 {
		switch rng.IntN(5) {
		case 0:
			m, v := b.Acquire(blockPacketHeader + rng.Uint32N(4096-blockPacketHeader-48))
			if v != ring.Acquired {
				continue
			}
			accepted++
			at := inside("a writer", b.Bytes(m))
			for other, from := range held {
				if at < from+int(other.Size()) && from < at+int(m.Size()) {
					t.Fatalf("two writers own bytes %d to %d", max(at, from), min(at+int(m.Size()), from+int(other.Size()))-1)
				}
			}
			clear(b.Bytes(m))
			held[m] = at
		case 1:
			for m := range held {
				b.Release(m)
				delete(held, m)
				break
			}
		case 2:
			if f, ok := rd.Next(); ok {
				inside("the reader", f.Data)
				if f.Net < 0 || f.Net > len(f.Data) {
					t.Fatalf("network header at %d of %d bytes", f.Net, len(f.Data))
				}
				read++
				f.Release()
			}
		case 3:
			binary.NativeEndian.PutUint32(mem[rng.IntN(len(mem)/4)*4:], rng.Uint32()>>rng.UintN(32))
		case 4:
			block := rng.IntN(3) * 4096
			binary.NativeEndian.PutUint32(mem[block+4*rng.IntN(32):], rng.Uint32()>>rng.UintN(32))
			b.Expire()
		}
	}
	if slices.ContainsFunc(beyond, func(v byte) bool { return v != 0 }) {
		t.Error("something was stored behind the ring's memory")
	}
	if got := b.Captured(); got != accepted || accepted == 0 || read == 0 {
		t.Errorf("captured %d, accepted %d, read %d: want the first two equal, and none 0", got, accepted, read)
	}
	for m := range held {
		b.Release(m)
	}
	for i := range 6 {
		for block := range g.BlockNr {
			b.SetStatus(block, tpacket.StatusKernel)
		}
		m, v := b.Acquire(2000)
		if v == ring.Full { // retiring the open block made it the reader's, and it is the next one, too
			b.SetStatus(0, tpacket.StatusKernel)
			m, v = b.Acquire(2000)
		}
		if v != ring.Acquired {
			t.Fatalf("packet %d after all blocks were handed back: %v", i, v)
		}
		b.Release(m)
	}
	t.Logf("%d packets accepted, %d read", accepted, read)
}

func TestBlocksRefuse(t *testing.T) {
	g := tpacket.Geometry{Version: tpacket.V3, BlockSize: 4096, BlockNr: 2}
	for _, tt := range []struct {
		g    tpacket.Geometry
		size int
		priv uint32
	}{
		{tpacket.Geometry{Version: tpacket.V2, BlockSize: 4096, BlockNr: 2}, 8192, 0},
		{tpacket.Geometry{Version: tpacket.V3, BlockSize: 4096}, 8192, 0},
		{g, 4096, 0},
		{g, 8192, 4096},
	} {
		if _, err := writer.NewBlocks(ringmem.NewHeap(tt.size), tt.g, writer.BlocksConfig{SizeofPriv: tt.priv}); err == nil {
			t.Errorf("NewBlocks(%+v in %d bytes, priv %d): no error", tt.g, tt.size, tt.priv)
		}
	}
	b := blocksOf(t, 2, writer.BlocksConfig{})
	for _, n := range []uint32{0, tpacket.SizeofHeader3 - 1, b.MaxFrame() + 1, 1<<32 - 1} {
		if _, v := b.Acquire(n); v != ring.NoRoom {
			t.Errorf("%d bytes, where a header takes %d and a block has %d: %v, want no room", n, tpacket.SizeofHeader3, b.MaxFrame(), v)
		}
	}
	b.Release(mustRoom(t, b, b.MaxFrame()))
	b.Close()
	if _, v := b.Acquire(100); v != ring.NoRoom {
		t.Errorf("closed: %v, want no room", v)
	}
}

// TestBlocksOfEveryShape: places, counts and numbers of blocks share one word,
// whatever the shape.
func TestBlocksOfEveryShape(t *testing.T) {
	for _, tt := range []struct{ size, n, priv uint32 }{
		{4096, 1, 0}, {4096, 2, 13}, {4096, 3, 4096 - 48 - 80}, {4096, 129, 0}, {1 << 20, 2, 1 << 19}, {12288, 5, 1},
	} {
		t.Run(fmt.Sprintf("%dx%d,priv=%d", tt.n, tt.size, tt.priv), func(t *testing.T) {
			g := tpacket.Geometry{Version: tpacket.V3, BlockSize: tt.size, BlockNr: tt.n}
			b, err := writer.NewBlocks(ringmem.NewHeap(g.Size()), g, writer.BlocksConfig{SizeofPriv: tt.priv})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			rd := writer.NewReader(b, new(notify.Notify))
			rng := rand.New(rand.NewPCG(uint64(tt.size), uint64(tt.n)))
			accepted, read, blocks := uint64(0), uint64(0), uint64(0)
			drain := func() {
				for f, ok := rd.Next(); ok; f, ok = rd.Next() {
					if got := binary.NativeEndian.Uint64(f.Data); got != read {
						t.Fatalf("packet %d came as number %d", got, read)
					}
					f.Release()
					read++
				}
			}
			for blocks < 10*uint64(tt.n) {
				n := min(blockPacketHeader+8+rng.Uint32N(tt.size/2), b.MaxFrame())
				if n < blockPacketHeader+8 {
					t.Fatalf("MaxFrame %d", b.MaxFrame())
				}
				m, v := b.Acquire(n)
				if v == ring.Full {
					drain()
					continue
				}
				if v != ring.Acquired || m.Size() < n || m.Size() >= n+8 {
					t.Fatalf("Acquire(%d) = %d bytes, %v", n, m.Size(), v)
				}
				binary.NativeEndian.PutUint64(putBlockPacket(b.Bytes(m), n), accepted)
				b.Release(m)
				accepted++
				if rng.IntN(8) == 0 {
					b.Expire()
				}
				blocks++
			}
			drain()
			b.Expire()
			drain()
			if read != accepted || b.Captured() != accepted {
				t.Errorf("%d accepted, %d captured, %d read", accepted, b.Captured(), read)
			}
		})
	}
	g := tpacket.Geometry{Version: tpacket.V3, BlockSize: 1<<31 - 4096, BlockNr: 1 << 10}
	if _, err := writer.NewBlocks(ringmem.NewHeap(4096), g, writer.BlocksConfig{}); err == nil {
		t.Error("two terabytes in 4096 bytes: no error")
	}
}

// TestFramesOfABlockAreReleasedAnywhere hands frames to others, who release them
// in whatever order, and wants every block to come back and go round.
func TestFramesOfABlockAreReleasedAnywhere(t *testing.T) {
	var n notify.Notify
	b := blocksOf(t, 2, writer.BlocksConfig{Wake: n.Wake})
	rd := writer.NewReader(b, &n)
	frames := make(chan ring.Frame, 64)
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			for f := range frames {
				f.Release()
			}
		})
	}
	const packets = 30000
	go func() {
		for i := 0; i < packets; {
			m, v := b.Acquire(500)
			if v != ring.Acquired {
				runtime.Gosched()
				continue
			}
			binary.NativeEndian.PutUint64(putBlockPacket(b.Bytes(m), 500), uint64(i))
			b.Release(m)
			i++
		}
		b.Expire()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range uint64(packets) {
		f, ok := rd.Next()
		for ; !ok; f, ok = rd.Next() {
			if err := rd.Wait(ctx); err != nil {
				t.Fatalf("waiting for packet %d: %v", i, err)
			}
		}
		if got := binary.NativeEndian.Uint64(f.Data); got != i {
			t.Fatalf("packet %d came as number %d", i, got)
		}
		frames <- f
	}
	close(frames)
	workers.Wait()
}

func BenchmarkBlocks(bench *testing.B) {
	for _, size := range []uint32{64, 1500} {
		bench.Run(fmt.Sprintf("%dB", size), func(bench *testing.B) {
			g := tpacket.Geometry{Version: tpacket.V3, BlockSize: 1 << 18, BlockNr: 16, FrameSize: 1 << 18, FrameNr: 16, FramesPerBlock: 1}
			b, err := writer.NewBlocks(ringmem.NewHeap(g.Size()), g, writer.BlocksConfig{})
			if err != nil {
				bench.Fatal(err)
			}
			rd := writer.NewReader(b, new(notify.Notify))
			packet := make([]byte, size)
			bench.ReportAllocs()
			for bench.Loop() {
				m, v := b.Acquire(size + 82)
				if v != ring.Acquired {
					for f, ok := rd.Next(); ok; f, ok = rd.Next() {
						f.Release()
					}
					continue
				}
				frame := b.Bytes(m)
				copy(frame[82:], packet)
				*tpacket.Header3At(frame) = tpacket.Header3{NextOffset: m.Size(), Snaplen: size, Len: size, Mac: 82, Net: 96, Status: 1}
				b.Release(m)
			}
		})
	}
}
