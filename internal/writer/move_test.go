package writer_test

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// movable is a ring of either kind, for writers who do not know which.
type movable interface {
	writer.Buffer
	// put writes one packet of some length that says whose it is and which.
	put(writer, i uint32) ring.Verdict
	move(m *ringmem.Memory) (movable, error)
}

const movedHeader = tpacket.SizeofHeader3 + tpacket.SizeofSockaddrLL

// stamp fills data with what readStamp checks.
func stamp(data []byte, writer, i uint32) {
	binary.NativeEndian.PutUint32(data, writer)
	binary.NativeEndian.PutUint32(data[4:], i)
	for k := 8; k < len(data); k++ {
		data[k] = byte(writer*31 + i + uint32(k))
	}
}

func readStamp(t *testing.T, data []byte) (writer, i uint32) {
	t.Helper()
	want := make([]byte, len(data))
	writer, i = binary.NativeEndian.Uint32(data), binary.NativeEndian.Uint32(data[4:])
	stamp(want, writer, i)
	if string(data) != string(want) {
		t.Fatalf("torn packet %d of writer %d: % x", i, writer, data)
	}
	return writer, i
}

type movableSlots struct{ *writer.Ring }

func (r movableSlots) put(writer, i uint32) ring.Verdict {
	slot, v := r.Acquire()
	if v == ring.Acquired {
		n := 8 + i%100
		b := r.Frame(slot)
		h := tpacket.Header2At(b)
		h.Len, h.Snaplen, h.Mac, h.Net = n, n, movedHeader, movedHeader
		stamp(b[movedHeader:movedHeader+n], writer, i)
		r.Release(slot, tpacket.StatusUser)
	}
	return v
}

func (r movableSlots) move(m *ringmem.Memory) (movable, error) {
	moved, err := r.Move(m)
	return movableSlots{moved}, err
}

type movableBlocks struct{ *writer.Blocks }

func (b movableBlocks) put(writer, i uint32) ring.Verdict {
	n := 8 + i%100
	room, v := b.Acquire(movedHeader + n)
	if v == ring.Acquired {
		frame := b.Bytes(room)
		*tpacket.Header3At(frame) = tpacket.Header3{NextOffset: room.Size(), Snaplen: n, Len: n, Mac: movedHeader, Net: movedHeader}
		stamp(frame[movedHeader:movedHeader+n], writer, i)
		b.Release(room)
	}
	return v
}

func (b movableBlocks) move(m *ringmem.Memory) (movable, error) {
	moved, err := b.Move(m)
	return movableBlocks{moved}, err
}

func newMemory(t *testing.T, size int) *ringmem.Memory {
	t.Helper()
	m, err := ringmem.New(size)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMovedRingKeepsItsPackets moves a ring again and again under its writers:
// every packet that got room is read at the end, once, whole and in order.
func TestMovedRingKeepsItsPackets(t *testing.T) {
	need.Time(t, "it runs for seconds")
	const block = 1 << 16
	slots := tpacket.Geometry{Version: tpacket.V2, BlockSize: block, BlockNr: 16, FrameSize: 256, FrameNr: 16 * block / 256, FramesPerBlock: block / 256}
	blocks := tpacket.Geometry{Version: tpacket.V3, BlockSize: block, BlockNr: 16, FrameSize: block, FrameNr: 16, FramesPerBlock: 1}
	for _, c := range []struct {
		name  string
		first func(int) (*ringmem.Memory, error)
		g     tpacket.Geometry
	}{
		{"slots", ringmem.New, slots},
		{"blocks", ringmem.New, blocks},
		{"slots in private memory first", ringmem.NewPrivate, slots},
		{"blocks in private memory first", ringmem.NewPrivate, blocks},
	} {
		t.Run(c.name, func(t *testing.T) {
			var notify notify.Notify
			var first movable
			m, err := c.first(c.g.Size())
			if err != nil {
				t.Fatal(err)
			}
			if c.g.Version == tpacket.V3 {
				b, err := writer.NewBlocks(m, c.g, writer.BlocksConfig{Retire: time.Millisecond, Wake: notify.Wake})
				if err != nil {
					t.Fatal(err)
				}
				first = movableBlocks{b}
			} else {
				r, err := writer.New(m, c.g)
				if err != nil {
					t.Fatal(err)
				}
				first = movableSlots{r}
			}
			var now atomic.Pointer[movable]
			now.Store(&first)
			const writers = 3
			var accepted [writers]uint32
			var wg sync.WaitGroup
			for w := range uint32(writers) {
				wg.Go(func() {
					for {
						switch (*now.Load()).put(w, accepted[w]) {
						case ring.Acquired:
							if accepted[w]++; accepted[w]%2 == 0 {
								time.Sleep(time.Microsecond) // so that it does not fill up between two moves
							}
						case ring.Full:
							return
						}
					}
				})
			}
			moves := 0
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			for running := true; running; moves++ {
				old := *now.Load()
				moved, err := old.move(newMemory(t, c.g.Size()))
				if err != nil {
					t.Fatal(err)
				}
				now.Store(&moved)
				if v := old.put(9, 9); v != ring.NoRoom {
					t.Fatalf("a ring that was moved says %v, want %v", v, ring.NoRoom)
				}
				select {
				case <-done:
					running = false
				default:
				}
			}
			last := *now.Load()
			defer last.Close()
			var sum uint32
			for _, n := range accepted {
				sum += n
			}
			if uint64(sum) != last.Captured() {
				t.Errorf("the ring counts %d packets: want %d", last.Captured(), sum)
			}
			var buffer writer.Buffer
			switch m := last.(type) {
			case movableSlots:
				buffer = m.Ring
			case movableBlocks:
				m.Expire()
				buffer = m.Blocks
			}
			rd := writer.NewReader(buffer, &notify)
			var next [writers]uint32
			read := uint32(0)
			for f, ok := rd.Next(); ok; f, ok = rd.Next() {
				w, i := readStamp(t, f.Data)
				if i != next[w] {
					t.Fatalf("packet %d of writer %d: want %d", i, w, next[w])
				}
				next[w]++
				read++
				f.Release()
			}
			if read != sum {
				t.Errorf("read %d of %d packets", read, sum)
			}
			t.Logf("%d packets, moved %d times", read, moves)
		})
	}
}

// TestMovedBlockLeavesThePrivateArea moves a ring of blocks into memory whose reader
// has stored something in the blocks' private areas already.
func TestMovedBlockLeavesThePrivateArea(t *testing.T) {
	g := tpacket.Geometry{Version: tpacket.V3, BlockSize: 4096, BlockNr: 2, FrameSize: 4096, FrameNr: 2, FramesPerBlock: 1}
	m, err := ringmem.NewPrivate(g.Size())
	if err != nil {
		t.Fatal(err)
	}
	b, err := writer.NewBlocks(m, g, writer.BlocksConfig{SizeofPriv: 16})
	if err != nil {
		t.Fatal(err)
	}
	if v := (movableBlocks{b}).put(1, 50); v != ring.Acquired {
		t.Fatal(v)
	}
	to := newMemory(t, g.Size())
	private := to.Bytes()[tpacket.BlockPlusPriv(0):tpacket.BlockPlusPriv(16)]
	copy(private, "the reader's own")
	moved, err := b.Move(to)
	if err != nil {
		t.Fatal(err)
	}
	defer moved.Close()
	if string(private) != "the reader's own" {
		t.Errorf("the private area is %q", private)
	}
	var notify notify.Notify
	moved.Expire()
	f, ok := writer.NewReader(moved, &notify).Next()
	if !ok {
		t.Fatal("the packet is not there")
	}
	if w, i := readStamp(t, f.Data); w != 1 || i != 50 {
		t.Errorf("packet %d of writer %d", i, w)
	}
}

func TestRingsThatCannotBeMoved(t *testing.T) {
	g := tpacket.Geometry{Version: tpacket.V2, BlockSize: 4096, BlockNr: 1, FrameSize: 2048, FrameNr: 2, FramesPerBlock: 2}
	m := newMemory(t, g.Size())
	defer m.Close()
	r, err := writer.New(newMemory(t, g.Size()), g)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, err := r.Move(m); !errors.Is(err, ring.ErrClosed) {
		t.Errorf("move of a closed ring: %v, want %v", err, ring.ErrClosed)
	}
	b := blocksOf(t, 2, writer.BlocksConfig{})
	b.Close()
	if _, err := b.Move(m); !errors.Is(err, ring.ErrClosed) {
		t.Errorf("move of a closed ring of blocks: %v, want %v", err, ring.ErrClosed)
	}
}
