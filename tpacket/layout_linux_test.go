package tpacket_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// maxAsked bounds the memory of a ring that the kernel is asked to make.
const maxAsked = 8 << 20

// answer is the errno for a request, as Layout and Teardown see it.
func answer(v tpacket.Version, r tpacket.Req3, reserve uint32) (tpacket.Geometry, error) {
	if r.BlockNr == 0 && v <= tpacket.V3 {
		return tpacket.Geometry{}, r.Teardown()
	}
	return tpacket.Layout(v, r, reserve, os.Getpagesize())
}

// asker puts ring requests to the kernel on one socket, which has no ring
// between two of them.
type asker struct{ *kring.Socket }

func newAsker(ns *kring.Namespace) (asker, error) {
	s, err := ns.Socket(unix.SOCK_RAW, 0)
	return asker{s}, err
}

func (a asker) ask(v tpacket.Version, r tpacket.Req3, reserve uint32) (errno error) {
	if err := a.SetInt(tpacket.OptVersion, uint32(v)); err != nil {
		return err
	}
	if err := a.SetInt(tpacket.OptReserve, reserve); err != nil {
		return err
	}
	err := a.SetRxRing(v, r)
	if err == nil && r.BlockNr > 0 {
		if err := a.SetRxRing(v, tpacket.Req3{}); err != nil {
			return fmt.Errorf("take the ring away: %w", err)
		}
	}
	return err
}

func TestKernelAnswersTheRequestTable(t *testing.T) {
	if os.Getpagesize() != page {
		need.Skip(t, need.Inapplicable, "pages of %d bytes here, %d in the table", os.Getpagesize(), page)
	}
	kringtest.Run(t, func(ns *kring.Namespace) {
		a, err := newAsker(ns)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		for _, tt := range ringRequests {
			want := error(nil)
			if tt.field != "" {
				want = unix.EINVAL
			}
			if got := a.ask(tt.version, tt.request, tt.reserve); got != want {
				t.Errorf("%s: the kernel says %v, the table %v", tt.name, got, want)
			}
		}
		if got := a.SetInt(tpacket.OptVersion, uint32(tpacket.V3)+1); got != unix.EINVAL {
			t.Errorf("PACKET_VERSION 3: the kernel says %v, Layout EINVAL", got)
		}
		if got := a.SetInt(tpacket.OptReserve, 1<<31); got != unix.EINVAL {
			t.Errorf("PACKET_RESERVE 1<<31: the kernel says %v, Layout EINVAL", got)
		}
		for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3} {
			hdrlen, err := a.Option(tpacket.OptHdrlen, binaryVersion(v))
			if err != nil || tpacket.Parse[tpacket.Stats](hdrlen).Packets != uint32(v.HeaderSize()) {
				t.Errorf("PACKET_HDRLEN of %s: %x, %v; HeaderSize %d", v, hdrlen, err, v.HeaderSize())
			}
		}
	})
}

func binaryVersion(v tpacket.Version) []byte {
	s := tpacket.Stats{Packets: uint32(v)} // an int at its start
	return tpacket.Bytes(&s)[:4]
}

// TestLayoutSaysWhatTheKernelSays: for any request Layout or Teardown gives the
// errno of setsockopt(PACKET_RX_RING). The one difference it accepts is ENOMEM,
// which is about the machine and not about the request; it counts those.
func TestLayoutSaysWhatTheKernelSays(t *testing.T) {
	const (
		workers  = 32 // making and removing a ring waits for all processors
		requests = 2  // of each of rapid's checks, by each worker
	)
	kringtest.Run(t, func(ns *kring.Namespace) {
		var asked, accepted, noMemory, tooLarge atomic.Int64
		property := func(a asker) func(*rapid.T) {
			return func(t *rapid.T) {
				for range requests {
					v := tpacket.Version(rapid.IntRange(0, 2).Draw(t, "version"))
					reserve := drawReserve(t)
					r := drawRequest(t, v, reserve)
					_, want := answer(v, r, reserve)
					if want == nil && uint64(r.BlockSize)*uint64(r.BlockNr) > maxAsked {
						tooLarge.Add(1)
						continue
					}
					asked.Add(1)
					got := a.ask(v, r, reserve)
					if got == unix.ENOMEM && want == nil {
						noMemory.Add(1)
						continue
					}
					if got == nil && r.BlockNr > 0 {
						accepted.Add(1)
					}
					if (got == nil) != (want == nil) || got != nil && !errors.Is(want, got) {
						t.Fatalf("%s, reserve %d, %+v:\nkernel: %v\nhere:   %v", v, reserve, r, got, want)
					}
				}
			}
		}
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() { // not t.Parallel, which stops at GOMAXPROCS
				t.Run(fmt.Sprint("worker ", w), func(t *testing.T) {
					a, err := newAsker(ns)
					if err != nil {
						t.Fatal(err)
					}
					defer a.Close()
					rapid.Check(t, property(a))
				})
			})
		}
		wg.Wait()
		t.Logf("%d requests asked, %d rings made, %d without memory, %d too large to ask", asked.Load(), accepted.Load(), noMemory.Load(), tooLarge.Load())
	})
}

func drawReserve(t *rapid.T) uint32 {
	return rapid.OneOf(
		rapid.SampledFrom([]uint32{0, 0, 4, 7, 11, 12, 13, 16, 100, 0x10000, 1<<31 - 1, 1<<31 - 53}), // the option refuses more
		rapid.Uint32Range(0, 300),
	).Draw(t, "reserve")
}

// drawRequest starts from a sound request and bends some of it: mostly by a
// little, sometimes to an edge of its type.
func drawRequest(t *rapid.T, v tpacket.Version, reserve uint32) tpacket.Req3 {
	pageSize := uint32(os.Getpagesize())
	var r tpacket.Req3
	least := (uint32(v.HdrLen()) + reserve + tpacket.Alignment - 1) &^ (tpacket.Alignment - 1)
	r.BlockSize = pageSize * rapid.Uint32Range(1, 16).Draw(t, "pages")
	r.BlockNr = rapid.Uint32Range(1, 8).Draw(t, "blocks")
	r.FrameSize = rapid.SampledFrom([]uint32{least, least, least + 16, 128, 2048, 3008, r.BlockSize, r.BlockSize}).Draw(t, "frame size")
	if v == tpacket.V3 {
		room := r.BlockSize - tpacket.SizeofBlockDesc - uint32(v.HdrLen()) - reserve // may wrap: an edge too
		r.SizeofPriv = rapid.SampledFrom([]uint32{0, 0, 0, 1, 13, 1000, room &^ 7, room}).Draw(t, "private area")
		r.RetireBlkTov = rapid.SampledFrom([]uint32{0, 1, 10, 1<<31 - 1, 1 << 31, 1<<32 - 1}).Draw(t, "retire timeout")
		r.FeatureReqWord = rapid.SampledFrom([]uint32{0, 1, 2, 1<<32 - 1}).Draw(t, "feature word")
	}
	fields := []*uint32{&r.BlockSize, &r.FrameSize, &r.BlockNr, &r.SizeofPriv}
	bends := rapid.SampledFrom([]int{0, 1, 1, 1, 2}).Draw(t, "bends")
	for range bends {
		bend(t, rapid.SampledFrom(fields).Draw(t, "field"))
	}
	if r.FrameSize > 0 {
		r.FrameNr = r.BlockSize / r.FrameSize * r.BlockNr // wraps as the kernel's does
	}
	if rapid.IntRange(0, 4).Draw(t, "bend frames") == 0 {
		bend(t, &r.FrameNr)
	}
	return r
}

func bend(t *rapid.T, field *uint32) {
	edges := []uint32{0, 1, 15, 16, 48, 52, 64, 68, 80, 4095, 4096, 1<<16 - 1, 1 << 16, 1<<27 + 1, 1<<31 - 4096, 1<<31 - 1, 1 << 31, 1<<32 - 4096, 1<<32 - 1}
	*field = rapid.OneOf(
		rapid.Map(rapid.SampledFrom([]uint32{1, 4, 8, 16, 4096}), func(d uint32) uint32 { return *field + d }),
		rapid.Map(rapid.SampledFrom([]uint32{1, 4, 8, 16, 4096}), func(d uint32) uint32 { return *field - d }),
		rapid.SampledFrom(edges),
		rapid.Uint32(),
	).Draw(t, "bent")
}
