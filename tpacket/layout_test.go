package tpacket_test

import (
	"encoding/binary"
	"errors"
	"math"
	"syscall"
	"testing"

	"github.com/rxring/rxring/tpacket"
)

const page = 4096

func slots(blockSize, blockNr, frameSize, frameNr uint32) tpacket.Req3 {
	return tpacket.Req3{Req: tpacket.Req{BlockSize: blockSize, BlockNr: blockNr, FrameSize: frameSize, FrameNr: frameNr}}
}

func withPriv(r tpacket.Req3, priv uint32) tpacket.Req3 {
	r.SizeofPriv = priv
	return r
}

func withTov(r tpacket.Req3, tov, feature uint32) tpacket.Req3 {
	r.RetireBlkTov, r.FeatureReqWord = tov, feature
	return r
}

// ringRequests is what Linux says to each request: the field it stumbles over
// first, or none. TestKernelAnswersTheRequestTable checks that with the kernel.
var ringRequests = []struct {
	name    string
	version tpacket.Version
	request tpacket.Req3
	reserve uint32
	field   string
}{
	{"one page, one frame", tpacket.V1, slots(page, 1, page, 1), 0, ""},
	{"frames smaller than a block", tpacket.V2, slots(page, 2, 128, 64), 0, ""},
	{"a block with a rest that holds no frame", tpacket.V2, slots(2*page, 2, 3008, 4), 0, ""},
	{"the smallest frame", tpacket.V2, slots(page, 1, 64, 64), 0, ""},
	{"the smallest V3 frame", tpacket.V3, slots(page, 1, 80, 51), 0, ""},
	{"smaller than header and address", tpacket.V2, slots(page, 1, 48, 85), 0, "tp_frame_size"},
	{"a V2 frame is too small for V3", tpacket.V3, slots(page, 1, 64, 64), 0, "tp_frame_size"},
	{"reserve fills the frame to its last byte", tpacket.V2, slots(page, 1, 64, 64), 12, ""},
	{"reserve one byte too large", tpacket.V2, slots(page, 1, 64, 64), 13, "tp_frame_size"},
	{"reserve as large as it may be", tpacket.V2, slots(page, 1, page, 1), math.MaxInt32, "tp_frame_size"},
	{"no frame size", tpacket.V2, slots(page, 1, 0, 0), 0, "tp_frame_size"},
	{"frames not aligned", tpacket.V1, slots(page, 1, 120, 34), 0, "tp_frame_size"},
	{"frame larger than the block", tpacket.V2, slots(page, 1, page+16, 1), 0, "tp_frame_size"},
	{"no block size", tpacket.V2, slots(0, 1, 128, 0), 0, "tp_block_size"},
	{"half a page", tpacket.V2, slots(page/2, 1, 128, 16), 0, "tp_block_size"},
	{"a page and a byte", tpacket.V2, slots(page+1, 1, 128, 32), 0, "tp_block_size"},
	{"block size negative as an int", tpacket.V2, slots(1<<31, 1, 1<<31, 1), 0, "tp_block_size"},
	{"largest block size there is", tpacket.V2, slots(math.MaxUint32, 1, 128, 1), 0, "tp_block_size"},
	{"one frame too few", tpacket.V2, slots(page, 2, 128, 63), 0, "tp_frame_nr"},
	{"one frame too many", tpacket.V2, slots(page, 2, 128, 65), 0, "tp_frame_nr"},
	{"no frames", tpacket.V3, slots(page, 2, 128, 0), 0, "tp_frame_nr"},
	{"more frames than a number holds", tpacket.V2, slots(page, 1<<27, 128, 0), 0, "tp_block_nr"},
	{"exactly as many, but not asked for", tpacket.V2, slots(page, math.MaxUint32/32, 128, 1), 0, "tp_frame_nr"},
	{"private area", tpacket.V3, withPriv(slots(page, 1, 128, 32), 1000), 0, ""},
	{"private area leaves one header and 4 bytes", tpacket.V3, withPriv(slots(page, 1, 128, 32), page-48-68-4), 0, ""},
	{"private area rounded up takes it", tpacket.V3, withPriv(slots(page, 1, 128, 32), page-48-68-3), 0, "tp_block_size"},
	{"private area and reserve", tpacket.V3, withPriv(slots(page, 1, 128, 32), page-48-68-4), 4, ""},
	{"private area and one byte more of reserve", tpacket.V3, withPriv(slots(page, 1, 128, 32), page-48-68-4), 5, "tp_block_size"},
	{"private area as large as the block", tpacket.V3, withPriv(slots(page, 1, 128, 32), page), 0, "tp_block_size"},
	{"private area that wraps around", tpacket.V3, withPriv(slots(page, 1, 128, 32), math.MaxUint32), 0, "tp_block_size"},
	{"private area means nothing to V2", tpacket.V2, withPriv(slots(page, 1, 128, 32), math.MaxUint32), 0, ""},
	{"the longest block timeout", tpacket.V3, withTov(slots(page, 1, 128, 32), math.MaxUint32, 0), 0, ""},
	{"unknown feature bits", tpacket.V3, withTov(slots(page, 1, 128, 32), 0, math.MaxUint32), 0, ""},
	{"two faults: the block's comes first", tpacket.V2, slots(100, 1, 7, 1), 0, "tp_block_size"},
}

func TestRingRequests(t *testing.T) {
	for _, tt := range ringRequests {
		t.Run(tt.name, func(t *testing.T) {
			g, err := tpacket.Layout(tt.version, tt.request, tt.reserve, page)
			if tt.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				checkGeometry(t, g, tt.request)
				return
			}
			var refused *tpacket.RequestError
			if !errors.As(err, &refused) {
				t.Fatalf("accepted, or refused without a field: %v", err)
			}
			if refused.Field != tt.field || !errors.Is(err, syscall.EINVAL) {
				t.Errorf("%v; the fault is in %s", err, tt.field)
			}
			if g != (tpacket.Geometry{}) {
				t.Errorf("refused, but with a geometry: %+v", g)
			}
		})
	}
}

func TestRequestsWithoutBlocks(t *testing.T) {
	if _, err := tpacket.Layout(tpacket.V2, slots(page, 0, 128, 0), 0, page); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Layout of no blocks: %v, want EINVAL", err)
	}
	if err := (tpacket.Req{BlockSize: 7, FrameSize: 3}).Teardown(); err != nil {
		t.Errorf("Teardown looks at more than frames: %v", err)
	}
	if err := (tpacket.Req{FrameNr: 1}).Teardown(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Teardown with frames: %v, want EINVAL", err)
	}
}

func TestUnknownVersionIsRefused(t *testing.T) {
	if _, err := tpacket.Layout(tpacket.V3+1, slots(page, 1, 128, 32), 0, page); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("TPACKET_V4: %v, want EINVAL", err)
	}
}

// checkGeometry: the shape is the request's, frames lie inside the ring and
// none crosses the end of a block.
func checkGeometry(t *testing.T, g tpacket.Geometry, r tpacket.Req3) {
	t.Helper()
	if g.BlockSize != r.BlockSize || g.BlockNr != r.BlockNr || g.FrameSize != r.FrameSize || g.FrameNr != r.FrameNr {
		t.Fatalf("geometry %+v is not the request's, %+v", g, r)
	}
	if uint64(g.FramesPerBlock)*uint64(g.BlockNr) != uint64(g.FrameNr) {
		t.Fatalf("%d frames in %d blocks of %d", g.FrameNr, g.BlockNr, g.FramesPerBlock)
	}
	if g.Size() <= 0 || g.FrameOffset(g.FrameNr-1)+int(g.FrameSize) > g.Size() {
		t.Fatalf("last frame ends at %d, ring at %d", g.FrameOffset(g.FrameNr-1)+int(g.FrameSize), g.Size())
	}
	last, mid := g.FrameNr-1, g.FrameNr/2
	per := g.FramesPerBlock
	for _, i := range []uint32{0, 1, per - 1, per, 2*per - 1, mid, mid - mid%per + per - 1, last - per, last} {
		if i > last { // also the ones that wrapped
			continue
		}
		start := g.FrameOffset(i)
		end := start + int(g.FrameSize)
		if start/int(g.BlockSize) != (end-1)/int(g.BlockSize) {
			t.Fatalf("%+v: frame %d, bytes %d to %d, crosses a block's end", g, i, start, end)
		}
		if i > 0 && start < g.FrameOffset(i-1)+int(g.FrameSize) {
			t.Fatalf("%+v: frame %d begins inside the one before", g, i)
		}
	}
}

func FuzzLayout(f *testing.F) {
	for _, tt := range ringRequests {
		f.Add(tpacket.Bytes(&tt.request), uint32(tt.version), tt.reserve, uint8(0))
	}
	f.Add([]byte{0, 16}, uint32(tpacket.V3+1), uint32(math.MaxUint32), uint8(4))
	f.Fuzz(func(t *testing.T, raw []byte, version, reserve uint32, pageShift uint8) {
		v := tpacket.Version(version)
		r := tpacket.Parse[tpacket.Req3](raw)
		if short := tpacket.Parse[tpacket.Req](raw); short != r.Req {
			t.Fatalf("Req %+v and Req3 %+v differ in what they share", short, r)
		}
		pageSize := page << (pageShift % 5) // 4 to 64 KiB
		g, err := tpacket.Layout(v, r, reserve, pageSize)
		_ = r.Teardown()
		if err != nil {
			if !errors.Is(err, syscall.EINVAL) || err.Error() == "" || g != (tpacket.Geometry{}) {
				t.Fatalf("%v, %+v", err, g)
			}
			return
		}
		if math.MaxInt == math.MaxInt32 && uint64(g.BlockSize)*uint64(g.BlockNr) > math.MaxInt32 {
			return // larger than a 32-bit program's memory
		}
		checkGeometry(t, g, r)
		if room := uint64(v.HdrLen()) + uint64(reserve); uint64(g.FrameSize) < room {
			t.Fatalf("frames of %d bytes do not hold header and reserve, %d", g.FrameSize, room)
		}
	})
}

func TestParseTakesWhatIsThere(t *testing.T) {
	want := tpacket.Header2{Status: 1, Len: 2, Snaplen: 3, Mac: 4, Net: 5, Sec: 6, Nsec: 7, VLANTCI: 8, VLANTPID: 9}
	raw := tpacket.Bytes(&want)
	if got := tpacket.Parse[tpacket.Header2](append(raw[:len(raw):len(raw)], 0xff)); got != want {
		t.Errorf("extra bytes changed it: %+v", got)
	}
	if got := tpacket.Parse[tpacket.Header2](raw[:8]); got != (tpacket.Header2{Status: 1, Len: 2}) {
		t.Errorf("missing bytes are not zero: %+v", got)
	}
	got := tpacket.Parse[tpacket.Header2](raw)
	raw[0] = 0xff
	if got != (tpacket.Header2{Status: 1, Len: 2, Snaplen: 3, Mac: 4, Net: 5, Sec: 6, Nsec: 7, VLANTCI: 8, VLANTPID: 9}) {
		t.Errorf("Parse did not copy: %+v", got)
	}
}

func TestHtonsIsBigEndian(t *testing.T) {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], tpacket.Htons(0x0800))
	if b != [2]byte{8, 0} {
		t.Errorf("in memory: % x, want 08 00", b)
	}
}

func TestVersionNames(t *testing.T) {
	for v, want := range map[tpacket.Version]string{tpacket.V1: "V1", tpacket.V2: "V2", tpacket.V3: "V3", 7: "TPACKET(7)"} {
		if v.String() != want {
			t.Errorf("%d is %q, want %q", uint32(v), v, want)
		}
	}
}
