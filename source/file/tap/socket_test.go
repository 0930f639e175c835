package tap

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
)

// isIPv4 accepts IPv4 packets by the type in their header, behind nops instructions of no effect.
func isIPv4(nops int) (prog []cbpf.Instruction) {
	for range nops {
		prog = append(prog, cbpf.Instruction{Op: cbpf.OpLdImm})
	}
	return append(prog,
		cbpf.Instruction{Op: cbpf.OpLdAbsH, K: 12},
		cbpf.Instruction{Op: cbpf.OpJEQ, K: 0x800, Jf: 1},
		cbpf.Instruction{Op: cbpf.OpRetK, K: 0xffffffff},
		cbpf.Instruction{Op: cbpf.OpRetK},
	)
}

// A program for packets as sockets receive them does not see the VLAN tag that the packet has in
// a file, wherever it is run; one for the form of files does where Next runs it.
func TestProgramsForSockets(t *testing.T) {
	frame := append([]byte("DDDDDDSSSSSS\x81\x00\x00\x05\x08\x00"), bytes.Repeat([]byte{0x45}, 60)...)
	for _, c := range []struct {
		what   string
		nops   int
		socket bool
		want   int // bytes; 0: it is refused
	}{
		{"short, for a socket", 0, true, 44},
		{"long, for a socket", maxWriterFilter, true, 44},
		{"long, for files", maxWriterFilter, false, 0},
	} {
		d, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "eth0"})
		if err != nil {
			t.Fatal(err)
		}
		tap, err := Open(d, Config{Programs: [][]cbpf.Instruction{isIPv4(c.nops)}, Snaplen: 40, Socket: c.socket, Promiscuous: true, Retire: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		d.Deliver(&rxring.Packet{Data: frame})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		p, ok, err := tap.Next(ctx)
		cancel()
		if err != nil || ok != (c.want > 0) || len(p.Data) != c.want || !bytes.HasPrefix(frame, p.Data) {
			t.Errorf("%s: %d bytes, %v, %v; want %d: % x", c.what, len(p.Data), ok, err, c.want, p.Data)
		}
		if err := tap.Close(); err != nil {
			t.Error(err)
		}
	}
}
