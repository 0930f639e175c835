package ring_test

import (
	"testing"
	"unsafe"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// blocks is a V3 ring that the test writes.
type blocks struct {
	slots.Blocks
	memory *ringmem.Memory
	*ring.Reader
}

const (
	blockSize = 4096
	stride    = 160 // bytes of a packet with its headers
	mac       = 82
)

func newBlocks(t testing.TB, n uint32) blocks {
	t.Helper()
	g := tpacket.Geometry{Version: tpacket.V3, BlockSize: blockSize, BlockNr: n, FrameSize: blockSize, FrameNr: n, FramesPerBlock: 1}
	m := ringmem.NewHeap(g.Size())
	b, err := slots.NewBlocks(m.Bytes(), g)
	if err != nil {
		t.Fatal(err)
	}
	rd, err := ring.NewReader(m, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	return blocks{b, m, rd}
}

// write hands the reader a block of n packets, whose first byte is their number.
func (b blocks) write(block uint32, n int) {
	d := b.Desc(block)
	d.NumPkts, d.OffsetToFirstPkt = uint32(n), tpacket.SizeofBlockDesc
	for i := range n {
		p := b.packet(block, i)
		h := tpacket.Header3At(p)
		*h = tpacket.Header3{NextOffset: stride, Mac: mac, Net: mac + 14, Snaplen: 64, Len: 100, Sec: 3, Nsec: 7, Status: tpacket.StatusUser | tpacket.StatusVLANValid, VLANTCI: 5, RxHash: 9}
		if i == n-1 {
			h.NextOffset = 0
		}
		*tpacket.SockaddrLLAt(p, tpacket.V3) = tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: 4}
		p[mac] = byte(i)
	}
	b.SetStatus(block, tpacket.StatusUser)
}

func (b blocks) packet(block uint32, i int) []byte {
	return b.memory.Bytes()[int(block)*blockSize+tpacket.SizeofBlockDesc+i*stride:]
}

func TestAFrameHasTheHeadersOfItsPacket(t *testing.T) {
	b := newBlocks(t, 1)
	b.write(0, 1)
	f, ok := b.Next()
	if !ok || len(f.Data) != 64 || cap(f.Data) != 64 || f.Len != 100 || f.Net != 14 || f.UnixNano() != 3e9+7 || f.Time().UnixNano() != 3e9+7 ||
		f.Status != tpacket.StatusUser|tpacket.StatusVLANValid || f.VLANTCI != 5 || f.Hash != 9 || f.From.Ifindex != 4 || !f.Written() || !f.Intact() {
		t.Errorf("%+v, %v", f, ok)
	}
	f.Release()
	if f.Data != nil || f.Intact() || f.Len != 100 {
		t.Errorf("after Release: %+v: want no data, and the other fields as they were", f)
	}
}

// A block is handed back with the release of its last frame, in whatever way frames are read and
// released, and not before.
func TestABlockIsHandedBackWithItsLastFrame(t *testing.T) {
	const packets = 5
	next := func(b blocks, held *[]ring.Frame) {
		if f, ok := b.Next(); ok {
			*held = append(*held, f)
		}
	}
	for name, read := range map[string]func(b blocks, held *[]ring.Frame){
		"Next": func(b blocks, held *[]ring.Frame) {
			for range packets {
				next(b, held)
			}
		},
		"NextBatch": func(b blocks, held *[]ring.Frame) {
			*held = make([]ring.Frame, packets+1)
			*held = (*held)[:b.NextBatch(*held)]
		},
		"Advance": func(b blocks, held *[]ring.Frame) {
			var f ring.Frame
			for range packets {
				b.Advance(&f)
			}
			*held = append(*held, f)
		},
		"Next and Advance": func(b blocks, held *[]ring.Frame) {
			var f ring.Frame
			next(b, held)
			b.Advance(&f)
			next(b, held)
			b.Advance(&f) // releases the second
			*held = append(*held, f)
			next(b, held)
		},
		"frames released while the block is read": func(b blocks, held *[]ring.Frame) {
			for range packets {
				for i := range *held {
					(*held)[i].Release()
				}
				next(b, held)
			}
		},
	} {
		for how, release := range map[string]func([]ring.Frame){
			"ReleaseBatch": ring.ReleaseBatch,
			"Release, backwards": func(frames []ring.Frame) {
				for i := range frames {
					frames[len(frames)-1-i].Release()
				}
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				b := newBlocks(t, 2)
				for lap := range 3 {
					for block := range uint32(2) {
						b.write(block, packets)
						var held []ring.Frame
						read(b, &held)
						last := held[len(held)-1:]
						if !last[0].Intact() || last[0].Data[0] != packets-1 {
							t.Fatalf("lap %d: block %d, packet %d in the end, in the ring: %v: want %d, true", lap, block, last[0].Data[0], last[0].Intact(), packets-1)
						}
						release(held[:len(held)-1])
						if b.Ready() || b.Status(block) != tpacket.StatusUser {
							t.Fatalf("lap %d: block %d: a packet more, or it was handed back before its last frame", lap, block)
						}
						release(last)
						release(held) // once more
						if b.Status(block) != tpacket.StatusKernel {
							t.Fatalf("lap %d: block %d was not handed back", lap, block)
						}
					}
				}
			})
		}
	}
}

// What no lawful writer stores ends a block: the reader hands it back with the packets before.
func TestABadOffsetEndsItsBlock(t *testing.T) {
	const packets = 5
	for name, c := range map[string]struct {
		spoil func(b blocks)
		want  int
	}{
		"no packets":                  {func(b blocks) { b.Desc(0).NumPkts = 0 }, 0},
		"more packets than there are": {func(b blocks) { b.Desc(0).NumPkts = 1<<32 - 1 }, packets},
		"fewer packets":               {func(b blocks) { b.Desc(0).NumPkts = 2 }, 2},
		"the first at 0":              {func(b blocks) { b.Desc(0).OffsetToFirstPkt = 0 }, 0},
		"the first not aligned":       {func(b blocks) { b.Desc(0).OffsetToFirstPkt = 52 }, 0},
		"the first at the end":        {func(b blocks) { b.Desc(0).OffsetToFirstPkt = blockSize - 64 }, 0},
		"the first far away":          {func(b blocks) { b.Desc(0).OffsetToFirstPkt = 1<<32 - 8 }, 0},
		"the next at the same offset": {func(b blocks) { tpacket.Header3At(b.packet(0, 2)).NextOffset = 0 }, 3},
		"the next not aligned":        {func(b blocks) { tpacket.Header3At(b.packet(0, 2)).NextOffset = 164 }, 3},
		"the next in another block":   {func(b blocks) { tpacket.Header3At(b.packet(0, 2)).NextOffset = blockSize }, 3},
		"the next before":             {func(b blocks) { tpacket.Header3At(b.packet(0, 2)).NextOffset = 1<<32 - stride }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlocks(t, 2)
			b.write(0, packets)
			b.write(1, 1)
			c.spoil(b)
			var f ring.Frame
			for i := range c.want {
				if !b.Advance(&f) || int(f.Data[0]) != i || f.Len != 100 {
					t.Fatalf("packet %d: %+v", i, f)
				}
			}
			if !b.Advance(&f) || &f.Data[0] != &b.packet(1, 0)[mac] || b.Status(0) != tpacket.StatusKernel {
				t.Errorf("after %d packets: not the next block's, or status %#x", c.want, b.Status(0))
			}
			if b.Advance(&f) || f.Data != nil || f.Written() || b.Status(1) != tpacket.StatusKernel {
				t.Errorf("after all: %+v, status %#x", f, b.Status(1))
			}
		})
	}
}

// A packet's bytes lie in its block, or in its slot, whatever the headers say.
func FuzzHeaders(f *testing.F) {
	f.Add(uint16(mac), uint16(mac+14), uint32(64), uint8(1))
	f.Add(uint16(65535), uint16(0), uint32(1<<32-1), uint8(2))
	f.Add(uint16(0), uint16(65535), uint32(0), uint8(0))
	f.Fuzz(func(t *testing.T, mac, net uint16, snaplen uint32, version uint8) {
		v := tpacket.Version(version % 3)
		g := tpacket.Geometry{Version: v, BlockSize: blockSize, BlockNr: 2, FrameSize: 256, FrameNr: 32, FramesPerBlock: 16}
		m := ringmem.NewHeap(g.Size())
		mem, at, room := m.Bytes(), 0, 256
		switch v {
		case tpacket.V1:
			*tpacket.Header1At(mem) = tpacket.Header1{Status: tpacket.StatusUser, Mac: mac, Net: net, Snaplen: snaplen}
		case tpacket.V2:
			*tpacket.Header2At(mem) = tpacket.Header2{Status: tpacket.StatusUser, Mac: mac, Net: net, Snaplen: snaplen}
		case tpacket.V3:
			at = blockSize - 80
			room = 80
			*tpacket.Header3At(mem[at:]) = tpacket.Header3{Mac: mac, Net: net, Snaplen: snaplen}
			b, err := slots.NewBlocks(mem, g)
			if err != nil {
				t.Fatal(err)
			}
			b.Desc(0).NumPkts, b.Desc(0).OffsetToFirstPkt = 1, uint32(at)
			b.SetStatus(0, tpacket.StatusUser)
		}
		rd, err := ring.NewReader(m, g, nil)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := rd.Next()
		want := min(int(snaplen), max(room-int(mac), 0))
		if len(p.Data) != want || want > 0 && &p.Data[0] != &mem[at+int(mac)] {
			t.Errorf("%d bytes at %d of %d: want %d", len(p.Data), mac, room, want)
		}
		if !ok || len(p.Data) > room || cap(p.Data) != len(p.Data) || p.Net < 0 || p.Net > len(p.Data) {
			t.Errorf("%v: %d bytes, network header at %d, of %d", ok, len(p.Data), p.Net, room)
		}
		if first := uintptr(unsafe.Pointer(unsafe.SliceData(p.Data))) - uintptr(unsafe.Pointer(&mem[at])); first >= uintptr(room) {
			t.Errorf("an empty packet points %d bytes from its headers, behind its %d bytes", first, room)
		}
	})
}
