package capfile

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// maxMemory is what reading a small file may allocate in all, in bytes: buffers of
// the file and of what it decompresses to, a block, interfaces; and a zstd
// window, which is as large as the file says, in one or two pieces.
const maxMemory = 4*readBuffer + 4*maxBlock + 2*maxWindow + MaxInterfaces*maxText

// Whatever a file holds: reading it ends, allocates no more than is allowed, and
// gives packets that can be.
func FuzzReader(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.pcap*")
	if err != nil || len(seeds) < 7 {
		f.Fatalf("%d seeds, error %v", len(seeds), err)
	}
	for _, path := range seeds {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(gzipped(f, b))
		f.Add(zstded(f, b))
	}
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		b := ng(order).iface(LinkIPv6, 40, ng(order).option(nil, optResolution, 0xa0))
		b.packet(0, 1<<40, frame(1, 41), b.flags(2)).block(4, make([]byte, 8)).block(blockSimple, make([]byte, 8))
		f.Add(b.section(1, 2).iface(LinkEthernet, 0, nil).packet(0, 3, nil, nil).Bytes())
	}
	for _, v := range pcapVariants() {
		f.Add(v.file(uint32(LinkLinuxSLL), record{1, 2, 60, 54, frame(1, 60)}, record{3, 4, 54, 60, frame(2, 54)}, record{5, 6, 1 << 30, 1 << 31, nil}))
	}
	f.Add(gzipped(f, sectionsAlike(8, MaxInterfaces)))
	f.Fuzz(func(t *testing.T, file []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		defer r.Close()
		described := len(r.Interfaces())
		r.SetEvents(Events{
			Comment: func(string) {}, Secrets: func(Secrets) {}, Name: func(Name) {},
			Interface: func(number int, _ Interface) {
				if number != described {
					t.Fatalf("interface %d after %d others", number, described)
				}
				described++
			},
			Stats: func(number int, _ Stats) {
				if number < 0 || number >= described {
					t.Fatalf("statistics of interface %d of %d", number, described)
				}
			},
		})
		for {
			p, err := r.Next()
			if described != len(r.interfaces) {
				t.Fatalf("%d interfaces described of %d", described, len(r.interfaces))
			}
			if err != nil {
				if _, again := r.Next(); again != err {
					t.Fatalf("error %v after %v", again, err)
				}
				if _, ok := err.(*Error); err != io.EOF && !ok {
					t.Fatalf("error %v of type %T", err, err)
				}
				break
			}
			if len(p.Data) > MaxPacket || p.Len < len(p.Data) || p.Interface < 0 || p.Interface >= len(r.interfaces) || p.Direction > Outbound {
				t.Fatalf("packet %+v of %d interfaces", p, len(r.interfaces))
			}
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > maxMemory {
			t.Fatalf("%d bytes allocated for a file of %d", got, len(file))
		}
	})
}

func FuzzClock(f *testing.F) {
	f.Add(byte(6), int64(0), uint64(1))
	f.Add(byte(0xa0), int64(-5), uint64(1<<63))
	f.Fuzz(func(t *testing.T, resolution byte, offset int64, at uint64) {
		c := newClock(resolution, offset)
		if a, b := c.nanoseconds(at), c.nanoseconds(at+1); at+1 != 0 && b < a {
			t.Errorf("%d then %d: time goes backwards", a, b)
		}
	})
}
