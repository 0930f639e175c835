package cbpf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/bpf"
)

// libpcapProgram is one program of testdata.
type libpcapProgram struct {
	file, expression string
	prog             []Instruction
}

func (p libpcapProgram) String() string { return p.file + ": " + p.expression }

// corpus reads what libpcap makes of testdata/expressions.txt.
func corpus(t testing.TB) (all []libpcapProgram) {
	t.Helper()
	files, err := filepath.Glob("testdata/*_*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, "testdata/en10mb.txt", "testdata/raw.txt") {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			line := lines.Text()
			if expression, ok := strings.CutPrefix(line, "# "); ok {
				all = append(all, libpcapProgram{file: filepath.Base(name), expression: expression})
				continue
			}
			var in Instruction
			if _, err := fmt.Sscan(line, &in.Op, &in.Jt, &in.Jf, &in.K); err != nil {
				t.Fatalf("%s: %q: %v", name, line, err)
			}
			last := &all[len(all)-1]
			last.prog = append(last.prog, in)
		}
	}
	return all
}

// libpcap returns one program of the corpus.
func libpcap(t testing.TB, file, expression string) []Instruction {
	t.Helper()
	for _, p := range corpus(t) {
		if p.file == file && p.expression == expression {
			return p.prog
		}
	}
	t.Fatalf("testdata/%s has no %q", file, expression)
	return nil
}

func mustCompile(t testing.TB, prog []Instruction) *Filter {
	t.Helper()
	f, err := Compile(prog)
	if err != nil {
		t.Fatalf("%v\n%v", err, listing(prog))
	}
	return f
}

// listing writes a program as tcpdump -d does.
func listing(prog []Instruction) string {
	var b strings.Builder
	for i, in := range prog {
		fmt.Fprintf(&b, "(%03d) %v\n", i, in)
	}
	return b.String()
}

// xnet makes golang.org/x/net/bpf's machine run prog. Not ok: it cannot.
func xnet(prog []Instruction) (vm *bpf.VM, ok bool) {
	raw := make([]bpf.RawInstruction, len(prog))
	for i, in := range prog {
		raw[i] = bpf.RawInstruction(in)
	}
	decoded, ok := bpf.Disassemble(raw)
	if !ok {
		return nil, false
	}
	vm, err := bpf.NewVM(decoded)
	return vm, err == nil
}

// whole is a packet in one piece.
func whole(data []byte) *Packet { return &Packet{Data: data, Len: uint32(len(data))} }

// ethernet, ipv4, ipv6, tcp and udp build packets from the outside in.
func ethernet(typ uint16, payload []byte) []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	b = binary.BigEndian.AppendUint16(b, typ)
	return append(b, payload...)
}

func ipv4(proto uint8, payload []byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, proto, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(payload)))
	return append(b, payload...)
}

func ipv6(proto uint8, payload []byte) []byte {
	b := make([]byte, 40)
	b[0], b[6], b[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], []byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})
	copy(b[24:], []byte{0x20, 0x01, 0x0d, 0xb8, 15: 2})
	return append(b, payload...)
}

func tcp(src, dst uint16, payload []byte) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	b[12], b[13] = 5<<4, 0x18
	return append(b, payload...)
}

func udp(src, dst uint16, payload []byte) []byte {
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

// traffic is a variety of packets that libpcap's programs tell apart, whole and
// cut off, and n random ones.
func traffic(r *rand.Rand, n int) (packets [][]byte) {
	payload := make([]byte, 200)
	for i := range payload {
		payload[i] = byte(i)
	}
	var transports [][2]any
	for _, port := range []uint16{22, 53, 80, 443, 1024, 1500, 8080, 65535} {
		transports = append(transports,
			[2]any{uint8(6), tcp(40000, port, payload)},
			[2]any{uint8(6), tcp(port, 40000, nil)},
			[2]any{uint8(17), udp(40000, port, payload)})
	}
	transports = append(transports,
		[2]any{uint8(1), []byte{8, 0, 0, 0, 0, 0, 0, 0}},
		[2]any{uint8(58), []byte{128, 0, 0, 0, 0, 0, 0, 0}},
		[2]any{uint8(47), append([]byte{0, 0, 8, 0}, ipv4(6, tcp(1, 2, nil))...)},
		[2]any{uint8(132), payload})
	for _, t := range transports {
		v4, v6 := ipv4(t[0].(uint8), t[1].([]byte)), ipv6(t[0].(uint8), t[1].([]byte))
		packets = append(packets, v4, v6, ethernet(0x800, v4), ethernet(0x86dd, v6),
			ethernet(0x8100, append([]byte{0, 5, 8, 0}, v4...)))
	}
	packets = append(packets,
		ethernet(0x806, payload[:28]),
		ethernet(0x88cc, payload),
		ethernet(0x8847, append([]byte{0, 6, 0x41, 64}, ipv4(17, nil)...)),
		ethernet(0x8864, append([]byte{0x11, 0, 0, 1, 0, 20, 0, 0x21}, ipv4(17, nil)...)),
		make([]byte, 9000), make([]byte, 64000), nil)
	for range n {
		p := append([]byte(nil), packets[r.IntN(len(packets)-3)]...)
		switch {
		case len(p) == 0:
		case r.IntN(3) == 0:
			p = p[:r.IntN(len(p))]
		default:
			for range 1 + r.IntN(3) {
				p[r.IntN(min(len(p), 64))] = byte(r.Uint32())
			}
		}
		packets = append(packets, p)
	}
	return packets
}

func TestEveryLibpcapProgramIsAcceptedAndAgreesWithXNet(t *testing.T) {
	programs := corpus(t)
	if len(programs) < 200 {
		t.Fatalf("corpus of %d programs, want at least 200", len(programs))
	}
	packets := traffic(rand.New(rand.NewPCG(1, 2)), 300)
	var compared, accepted int
	for _, p := range programs {
		if strings.Contains(p.expression, "protochain") {
			// A loop. Linux refuses it, and libpcap filters in user space.
			if _, err := Compile(p.prog); !errors.Is(err, syscall.EINVAL) {
				t.Errorf("%v: %v, want EINVAL\n%v", p, err, listing(p.prog))
			}
			continue
		}
		f := mustCompile(t, p.prog)
		vm, ok := xnet(p.prog)
		if ok {
			compared++
		}
		for _, data := range packets {
			got := f.Run(whole(data))
			if !ok {
				continue
			}
			want, err := vm.Run(data)
			if err != nil {
				t.Fatal(err)
			}
			if got != uint32(want) {
				t.Fatalf("%v: keeps %d, x/net %d, of\n%x\n%v", p, got, want, data, listing(p.prog))
			}
			if got > 0 {
				accepted++
			}
		}
	}
	t.Logf("%d programs, %d of which x/net runs, on %d packets; %d accepted", len(programs), compared, len(packets), accepted)
}
