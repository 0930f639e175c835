package writer_test

import (
	"testing"
	"unsafe"

	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// FuzzReader gives a reader memory in which anything may stand. It must stay
// within it, come to an end, and give everything back; and the writers must not
// mind.
func FuzzReader(f *testing.F) {
	const size, n = 512, 2 // small: what is interesting is made smaller, which takes time
	for v := range tpacket.V3 + 1 {
		f.Add(uint8(v), []byte{}, uint16(0))
		f.Add(uint8(v), lawfulMemory(f, v, size, n), uint16(0))
	}
	f.Fuzz(func(t *testing.T, version uint8, memory []byte, at uint16) {
		g := tpacket.Geometry{Version: tpacket.Version(version % 3), BlockSize: size, BlockNr: n, FrameSize: size / 2, FrameNr: 2 * n, FramesPerBlock: 2}
		m := ringmem.NewHeap(g.Size())
		b, acquire := bufferIn(t, m, g)
		defer b.Close()
		copy(m.Bytes()[int(at)%g.Size():], memory)
		rd := writer.NewReader(b, new(notify.Notify))
		first := uintptr(unsafe.Pointer(&m.Bytes()[0]))
		for lap := range 2 {
			frames := 0
			for fr, ok := rd.Next(); ok; fr, ok = rd.Next() {
				if frames++; frames > g.Size()/tpacket.SizeofHeader1 {
					t.Fatal("the reader does not come to an end")
				}
				if len(fr.Data) > 0 {
					from := uintptr(unsafe.Pointer(&fr.Data[0])) - first
					if from >= uintptr(g.Size()) || from+uintptr(len(fr.Data)) > uintptr(g.Size()) {
						t.Fatalf("%d bytes at %d of %d", len(fr.Data), from, g.Size())
					}
				}
				if fr.Net > len(fr.Data) || fr.Net < 0 {
					t.Fatalf("network header at %d of %d bytes", fr.Net, len(fr.Data))
				}
				fr.Release()
			}
			for range 4 * n {
				if frame, release := acquire(100); frame != nil {
					from := uintptr(unsafe.Pointer(&frame[0])) - first
					if from+uintptr(len(frame)) > uintptr(g.Size()) {
						t.Fatalf("lap %d: a writer got %d bytes at %d of %d", lap, len(frame), from, g.Size())
					}
					clear(frame[8:100]) // not the status
					release()
				}
			}
		}
	})
}

// bufferIn makes a ring of g's shape in m, and returns how to take a place in it.
func bufferIn(t testing.TB, m *ringmem.Memory, g tpacket.Geometry) (b writer.Buffer, acquire func(n uint32) (frame []byte, release func())) {
	if g.Version == tpacket.V3 {
		blocks, err := writer.NewBlocks(m, g, writer.BlocksConfig{})
		if err != nil {
			t.Fatal(err)
		}
		return blocks, func(n uint32) ([]byte, func()) {
			room, v := blocks.Acquire(n)
			if v != ring.Acquired {
				return nil, nil
			}
			return blocks.Bytes(room), func() { blocks.Release(room) }
		}
	}
	r, err := writer.New(m, g)
	if err != nil {
		t.Fatal(err)
	}
	return r, func(uint32) ([]byte, func()) {
		slot, v := r.Acquire()
		if v != ring.Acquired {
			return nil, nil
		}
		return r.Frame(slot), func() { r.Release(slot, tpacket.StatusUser) }
	}
}

// lawfulMemory is a ring's memory with a few packets in it.
func lawfulMemory(t testing.TB, v tpacket.Version, size, n uint32) []byte {
	g := tpacket.Geometry{Version: v, BlockSize: size, BlockNr: n, FrameSize: size / 2, FrameNr: 2 * n, FramesPerBlock: 2}
	m := ringmem.NewHeap(g.Size())
	b, acquire := bufferIn(t, m, g)
	defer b.Close()
	for range 7 {
		frame, release := acquire(200)
		if frame == nil {
			break
		}
		switch v {
		case tpacket.V1:
			h := tpacket.Header1At(frame)
			h.Len, h.Snaplen, h.Mac, h.Net = 120, 120, 66, 80
		case tpacket.V2:
			h := tpacket.Header2At(frame)
			h.Len, h.Snaplen, h.Mac, h.Net = 120, 120, 66, 80
		default:
			*tpacket.Header3At(frame) = tpacket.Header3{NextOffset: uint32(len(frame)), Snaplen: 110, Len: 110, Mac: 82, Net: 96}
		}
		release()
	}
	if blocks, ok := b.(*writer.Blocks); ok {
		blocks.Expire()
	}
	return m.Bytes()
}
