package defrag

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const link = 14 // bytes of link-layer header before each fragment

// fragment is bytes start to end of payload, as a fragment of packet id.
type fragment struct {
	id         uint16
	start, end int
	more, df   bool
	tos        byte
	options    int
}

func (f fragment) frame(payload []byte) Frame[string] {
	ihl := 20 + f.options
	b := make([]byte, link+ihl, link+ihl+f.end-f.start)
	copy(b, fmt.Sprintf("%14d", f.start))
	h := b[link:]
	h[0], h[1], h[8], h[9] = 0x40|byte(ihl/4), f.tos, 64, 17
	binary.BigEndian.PutUint16(h[2:], uint16(ihl+f.end-f.start))
	binary.BigEndian.PutUint16(h[4:], f.id)
	frag := uint16(f.start / 8)
	if f.more {
		frag |= flagMF
	}
	if f.df {
		frag |= flagDF
	}
	binary.BigEndian.PutUint16(h[6:], frag)
	copy(h[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	putChecksum(h)
	return Frame[string]{Data: append(b, payload[f.start:f.end]...), NetOff: link, Context: fmt.Sprint(f.start)}
}

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// checksum of a header with its checksum in place is 0.
func checksum(h []byte) uint16 {
	h = slices.Clone(h)
	was := binary.BigEndian.Uint16(h[10:])
	putChecksum(h)
	return was - binary.BigEndian.Uint16(h[10:])
}

func TestFragmentsInAnyOrderMakeThePacket(t *testing.T) {
	table := New[string]()
	for round := range 2000 {
		payload := random(1 + rand.IntN(4000))
		var fs []fragment
		for at := 0; at < len(payload); {
			end := min(at+8*(1+rand.IntN(100)), len(payload))
			fs = append(fs, fragment{id: uint16(round), start: at, end: end, more: end < len(payload), options: 4 * rand.IntN(11)})
			at = end
		}
		if len(fs) == 1 {
			continue
		}
		first := fs[0]
		fs = append(fs, fs[rand.IntN(len(fs))]) // one comes twice
		rand.Shuffle(len(fs), func(i, j int) { fs[i], fs[j] = fs[j], fs[i] })
		var whole Frame[string]
		for i, f := range fs {
			w, ok := table.Add(f.frame(payload))
			if ok && whole.Data != nil {
				t.Fatalf("round %d: whole twice", round)
			}
			if ok {
				whole = w
				fs = fs[i+1:]
				break
			}
		}
		h := whole.Data[link:]
		ihl := 20 + first.options
		if whole.Context != "0" || !bytes.HasPrefix(whole.Data, first.frame(payload).Data[:link]) {
			t.Fatalf("round %d: context %q and link-layer header %q: want the first fragment's", round, whole.Context, whole.Data[:link])
		}
		if !bytes.Equal(h[ihl:], payload) || int(binary.BigEndian.Uint16(h[2:])) != len(h) || checksum(h[:ihl]) != 0 || IsFragment(h) {
			t.Fatalf("round %d: header % x, %d bytes of payload, want %d", round, h[:ihl], len(h[ihl:]), len(payload))
		}
		for _, f := range fs { // what came twice after all begins a packet of its own
			if _, ok := table.Add(f.frame(payload)); ok {
				t.Fatalf("round %d: whole once more", round)
			}
		}
	}
}

// TestWhatBecomesOfFragments: each line is fragments that arrive, and the packets
// that come out. TestFragmentsReachMembersAsInTheKernel, in the root package, has
// the kernel say so.
func TestWhatBecomesOfFragments(t *testing.T) {
	payload := random(1 << 17)
	f := func(start, end int, more bool) fragment { return fragment{start: start, end: end, more: more} }
	with := func(f fragment, change func(*fragment)) fragment { change(&f); return f }
	first, middle, last := f(0, 64, true), f(64, 128, true), f(128, 150, false)
	for _, c := range []struct {
		name  string
		in    []fragment
		whole int // bytes of payload; 0: nothing
		check func(h []byte) bool
	}{
		{"in order", []fragment{first, middle, last}, 150, nil},
		{"backwards", []fragment{last, middle, first}, 150, nil},
		{"one is missing", []fragment{first, last}, 0, nil},
		{"one comes twice", []fragment{first, middle, middle, last}, 150, nil},
		{"part of one comes again", []fragment{first, middle, f(72, 80, true), last}, 150, nil},
		{"what spans two that came in order comes again", []fragment{first, middle, f(0, 128, true), last}, 150, nil},
		{"what spans two that came backwards overlaps", []fragment{middle, first, f(0, 128, true), last}, 0, nil},
		{"an overlap ends the packet", []fragment{first, f(56, 128, true), middle, last}, 0, nil},
		{"an overlap ends the packet, not what comes after it", []fragment{first, f(56, 128, true), first, middle, last}, 150, nil},
		{"two ends", []fragment{first, last, f(128, 160, false), middle}, 0, nil},
		{"something beyond the end", []fragment{last, f(150/8*8, 200, true), first, middle}, 0, nil},
		{"an end before what is there", []fragment{f(64, 256, true), last, first}, 0, nil},
		{"no payload", []fragment{first, f(64, 64, true), middle, last}, 0, nil},
		{"not a multiple of 8 bytes: the rest is cut off", []fragment{f(0, 69, true), f(64, 128, false)}, 128, nil},
		{"longer than a packet can be", []fragment{f(0, 65512, true), f(65512, 65516, false)}, 0, nil},
		{"as long as a packet can be", []fragment{f(0, 65512, true), f(65512, 65515, false)}, 65515, nil},
		{"congestion met by one fragment was met by the packet", []fragment{
			with(first, func(f *fragment) { f.tos = 2 }), with(middle, func(f *fragment) { f.tos = 3 }), with(last, func(f *fragment) { f.tos = 1 })},
			150, func(h []byte) bool { return h[1] == 3 }},
		{"code points that do not go together", []fragment{first, with(middle, func(f *fragment) { f.tos = 3 }), last}, 0, nil},
		{"the type of service is the first fragment's", []fragment{with(last, func(f *fragment) { f.tos = 8 }), middle, with(first, func(f *fragment) { f.tos = 16 })},
			150, func(h []byte) bool { return h[1] == 16 }},
		{"do not fragment, said by the longest", []fragment{with(first, func(f *fragment) { f.df = true }), middle, last}, 150,
			func(h []byte) bool { return binary.BigEndian.Uint16(h[6:]) == flagDF }},
		{"do not fragment, said by a shorter one", []fragment{first, middle, with(last, func(f *fragment) { f.df = true })}, 150,
			func(h []byte) bool { return binary.BigEndian.Uint16(h[6:]) == 0 }},
		{"of another packet", []fragment{first, with(middle, func(f *fragment) { f.id = 1 }), last}, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := New[string]()
			got := 0
			for i, f := range c.in {
				w, ok := table.Add(f.frame(payload))
				if !ok {
					continue
				}
				got = len(w.Data) - link - 20
				if i != len(c.in)-1 {
					t.Errorf("whole after fragment %d of %d", i+1, len(c.in))
				}
				if !bytes.Equal(w.Data[link+20:], payload[:got]) {
					t.Error("not what was sent")
				}
				if h := w.Data[link:][:20]; checksum(h) != 0 || c.check != nil && !c.check(h) {
					t.Errorf("header % x", h)
				}
			}
			if got != c.whole {
				t.Errorf("%d bytes of payload, want %d", got, c.whole)
			}
		})
	}
}

func TestTheChecksumIsLeftToTheCardWhenThatOfAllFragmentsIs(t *testing.T) {
	payload := random(150)
	for _, c := range []struct{ first, last, want bool }{{true, true, true}, {true, false, false}, {false, true, false}, {false, false, false}} {
		table := New[string]()
		first, last := fragment{end: 64, more: true}.frame(payload), fragment{start: 64, end: 150}.frame(payload)
		first.Partial, last.Partial = c.first, c.last
		table.Add(first)
		if w, ok := table.Add(last); !ok || w.Partial != c.want {
			t.Errorf("%v and %v: whole %v, %v, want %v", c.first, c.last, ok, w.Partial, c.want)
		}
	}
}

func TestFragmentsWaitForTheOthersOnlySoLong(t *testing.T) {
	table := New[string]()
	now := time.Unix(0, 0)
	table.now = func() time.Time { return now }
	payload := random(200)
	first, last := fragment{end: 64, more: true}, fragment{start: 64, end: 100}
	other := fragment{id: 1, end: 64, more: true}

	table.Add(first.frame(payload))
	now = now.Add(Timeout - 1)
	table.Add(other.frame(payload))
	now = now.Add(1)
	if _, ok := table.Add(last.frame(payload)); ok {
		t.Error("put together though the time was over")
	}
	if len(table.packets) != 2 { // the other one, and what the last fragment began
		t.Errorf("%d packets, want 2", len(table.packets))
	}
	now = now.Add(Timeout)
	table.Add(other.frame(payload))
	if len(table.packets) != 1 || table.byAge.Len() != 1 || table.bytes != len(other.frame(payload).Data)+overhead {
		t.Errorf("%d packets, %d bytes: want one packet", len(table.packets), table.bytes)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	table := New[string]()
	now := time.Unix(0, 0)
	table.now = func() time.Time { return now }
	payload := random(1480)
	for id := range 1 << 16 {
		table.Add(fragment{id: uint16(id), end: len(payload), more: true}.frame(payload))
	}
	if table.bytes < MaxBytes || table.bytes > MaxBytes+2000 {
		t.Errorf("%d bytes, want %d and the last fragment at most", table.bytes, MaxBytes)
	}
	now = now.Add(Timeout)
	if _, ok := table.Add(fragment{id: 7, end: 8, more: true}.frame(payload)); ok || len(table.packets) != 1 || len(table.sources) != 1 {
		t.Errorf("%d packets of %d sources after the time was over, want the one that came then", len(table.packets), len(table.sources))
	}
	if _, ok := table.Add(fragment{id: 7, start: 8, end: 20}.frame(payload)); !ok || table.bytes != 0 || len(table.packets) != 0 || len(table.sources) != 0 {
		t.Errorf("%d bytes of %d packets and %d sources: want none", table.bytes, len(table.packets), len(table.sources))
	}
}

func TestAFragmentThatComesTooLateBeginsAnew(t *testing.T) {
	payload := random(200)
	first, last := fragment{end: 64, more: true}, fragment{start: 64, end: 100}
	for between, want := range map[int]bool{MaxDistance - 1: true, MaxDistance: false} {
		table := New[string]()
		table.Add(first.frame(payload))
		for i := range between {
			table.Add(fragment{id: uint16(1 + i), end: 64, more: true}.frame(payload))
		}
		if _, ok := table.Add(last.frame(payload)); ok != want {
			t.Errorf("%d fragments of the source in between: whole %v, want %v", between, ok, want)
		}
		if !want { // the late one counts
			if _, ok := table.Add(first.frame(payload)); !ok {
				t.Errorf("%d fragments in between: the late one is forgotten", between)
			}
		}
	}
}

func FuzzAdd(f *testing.F) {
	f.Add([]byte{0, 8, 1, 8, 4, 0})
	f.Add([]byte{8, 4, 0, 0, 8, 1, 0, 8, 1})
	f.Add([]byte{0, 255, 1, 200, 255, 0x81})
	payload := make([]byte, 1<<13)
	for i := range payload {
		payload[i] = byte(i ^ i>>8)
	}
	f.Fuzz(func(t *testing.T, script []byte) { // offset and length in units, flags: three bytes a fragment
		table := New[string]()
		now := time.Unix(0, 0)
		table.now = func() time.Time { return now } // no input may take another way the second time
		held := 0
		for s := range slices.Chunk(script[:min(len(script), 300)], 3) {
			if len(s) < 3 {
				break
			}
			if s[2]&0x40 != 0 {
				now = now.Add(Timeout * 2 / 3)
			}
			start := int(s[0]) * 8
			fr := fragment{start: start, end: start + int(s[1])*8 - int(s[2]>>5), more: s[2]&1 != 0, df: s[2]&2 != 0, tos: s[2] >> 2 & 3, id: uint16(s[2] >> 4 & 1)}
			if fr.end <= fr.start {
				continue
			}
			frame := fr.frame(payload)
			if !IsFragment(frame.Data[link:]) {
				continue
			}
			held += len(frame.Data) + overhead
			w, ok := table.Add(frame)
			if ok {
				h := w.Data[link:]
				if !bytes.Equal(h[20:], payload[:len(h)-20]) || checksum(h[:20]) != 0 || int(binary.BigEndian.Uint16(h[2:])) != len(h) {
					t.Errorf("%v: not what was sent: % x", script, h[:20])
				}
			}
			if table.bytes < 0 || table.bytes > held || len(table.packets) != table.byAge.Len() || len(table.packets) == 0 && (table.bytes != 0 || len(table.sources) != 0) {
				t.Errorf("%v: %d bytes, %d packets, %d of known age", script, table.bytes, len(table.packets), table.byAge.Len())
			}
		}
	})
}
