package tap

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
)

// accepts returns a program of at least n instructions that accepts frames whose byte 14 is b.
func accepts(b byte, n int) (prog []cbpf.Instruction) {
	for len(prog) < n-4 {
		prog = append(prog, cbpf.Instruction{K: 1} /* ld #1 */)
	}
	return append(prog,
		cbpf.Instruction{Op: 0x30, K: 14},               // ldb [14]
		cbpf.Instruction{Op: 0x15, Jf: 1, K: uint32(b)}, // jeq #b, next, after
		cbpf.Instruction{Op: cbpf.OpRetK, K: MaxSnaplen},
		cbpf.Instruction{Op: cbpf.OpRetK},
	)
}

// While filters of both kinds replace each other, no packet is returned that none of them accepts:
// long ones run in Next, on a ring that has everything.
func TestSetFilterShowsNothingElse(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	d, err := ns.AddDevice(rxring.DeviceConfig{Name: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	tap, err := Open(d, Config{Programs: [][]cbpf.Instruction{accepts(1, 0)}, Retire: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	p := rxring.Packet{Data: make([]byte, 60)}
	deliver := func() {
		for b := range byte(4) {
			p.Data[14] = b
			d.Deliver(&p)
		}
	}
	got := map[byte]int{}
	read := func() {
		tap.SetDeadline(time.Now().Add(100 * time.Millisecond))
		for {
			p, ok, err := tap.Next(context.Background())
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				got[p.Data[14]]++
			}
		}
	}
	for n, prog := range [][]cbpf.Instruction{accepts(2, maxWriterFilter+1), accepts(1, 0), accepts(2, 0), accepts(1, maxWriterFilter+1), accepts(2, 0)} {
		deliver()
		if err := tap.SetFilter([][]cbpf.Instruction{prog}, 0); err != nil {
			t.Fatal(err)
		}
		deliver()
		read()
		if got[0]+got[3] > 0 || got[1]+got[2] == 0 {
			t.Errorf("filter %d: %v", n, got)
		}
		clear(got)
	}
}

// In the ring a frame's tag is beside it: a program that reads it inside the frame accepts the
// packet with Config.Tags alone.
func TestTagsInsideTheFrame(t *testing.T) {
	tagged := accepts(5, 0) // byte 14 is the first of the tag: priority and the upper bits of the VLAN
	for _, inside := range []bool{false, true} {
		d, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "eth0"})
		if err != nil {
			t.Fatal(err)
		}
		tap, err := Open(d, Config{Programs: [][]cbpf.Instruction{tagged}, Tags: inside, Retire: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer tap.Close()
		data := make([]byte, 64)
		copy(data[12:], "\x81\x00\x05\x07\x08\x00")
		d.Deliver(&rxring.Packet{Data: data})
		wait := 100 * time.Millisecond
		if inside {
			wait = time.Minute
		}
		tap.SetDeadline(time.Now().Add(wait))
		p, ok, err := tap.Next(context.Background())
		if accepted := err == nil && ok; accepted != inside {
			t.Errorf("Tags %v: accepted %v, %v", inside, accepted, err)
		} else if accepted && (p.Data[12] != 0x81 || p.Data[14] != 5) {
			t.Errorf("% x: want the tag in its place", p.Data[:18])
		}
	}
}
