package bench

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/net/bpf"

	"github.com/rxring/rxring/cbpf"
)

// programs has the programs of cbpf/testdata that this package uses, compiled by libpcap,
// in its format.
//
//go:embed testdata/programs.txt
var programs []byte

// program is a filter expression and the program that libpcap compiles it to.
type program struct {
	name, expression string
	instructions     []cbpf.Instruction
}

// filterPrograms returns the filters to measure: the common one, one of a few steps, one
// with ranges, one with many networks, one that computes.
func filterPrograms() ([]program, error) {
	all := []program{
		{name: "tcp port 80", expression: "tcp port 80"},
		{name: "ip6", expression: "ip6"},
		{name: "port range", expression: "tcp portrange 8000-8100"},
		{name: "three nets", expression: "dst net 10.0.0.0/8 or dst net 172.16.0.0/12 or dst net 192.168.0.0/16"},
		{name: "HTTP with data", expression: "tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)"},
	}
	byExpression, err := parsePrograms(programs)
	if err != nil {
		return nil, err
	}
	for i, p := range all {
		if all[i].instructions = byExpression[p.expression]; all[i].instructions == nil {
			return nil, fmt.Errorf("testdata/programs.txt: no program for %q", p.expression)
		}
	}
	return all, nil
}

// parsePrograms reads a comment line with the filter, then one instruction a
// line (code, jt, jf, k).
func parsePrograms(text []byte) (map[string][]cbpf.Instruction, error) {
	all := make(map[string][]cbpf.Instruction)
	expression := ""
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		line := s.Text()
		if e, ok := strings.CutPrefix(line, "# "); ok {
			expression = e
			continue
		}
		var in cbpf.Instruction
		if _, err := fmt.Sscanf(line, "%v %v %v %v", &in.Op, &in.Jt, &in.Jf, &in.K); err != nil {
			return nil, fmt.Errorf("instruction %q: %w", line, err)
		}
		all[expression] = append(all[expression], in)
	}
	return all, nil
}

// machine runs one filter on one packet n times, and returns how many bytes to keep.
type machine func(n int) (keep uint32, err error)

func rxringMachine(p program, packet []byte) (machine, error) {
	f, err := cbpf.Compile(p.instructions)
	if err != nil {
		return nil, err
	}
	view := &cbpf.Packet{Data: packet, Len: uint32(len(packet)), NetOff: macLen, Protocol: 0x0800}
	return func(n int) (keep uint32, err error) {
		for range n {
			keep = f.Run(view)
		}
		return keep, nil
	}, nil
}

func xnetMachine(p program, packet []byte) (machine, error) {
	raw := make([]bpf.RawInstruction, len(p.instructions))
	for i, in := range p.instructions {
		raw[i] = bpf.RawInstruction(in)
	}
	instructions, ok := bpf.Disassemble(raw)
	if !ok {
		return nil, errors.New("x/net/bpf cannot disassemble the program")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		return nil, err
	}
	return func(n int) (keep uint32, err error) {
		for range n {
			k, err := vm.Run(packet)
			if err != nil {
				return 0, err
			}
			keep = uint32(k)
		}
		return keep, nil
	}, nil
}

// filter measures a machine on a program, over a packet of 160 bytes to port 80.
// No packet is delivered. Both machines must return the same value.
func filter(open func(program, []byte) (machine, error), p program, budget time.Duration) (s Sample, err error) {
	b := packet(160)
	run, err := open(p, b)
	if err != nil {
		return Sample{}, err
	}
	other, err := xnetMachine(p, b)
	if err != nil {
		return Sample{}, err
	}
	keep, err := run(1)
	if err != nil {
		return Sample{}, err
	}
	if want, err := other(1); err != nil || keep != want {
		return Sample{}, fmt.Errorf("%q keeps %d bytes, x/net/bpf's machine %d (%w): want the same", p.expression, keep, want, err)
	}
	runtime.GC()
	const lap = 10000
	var l laps
	mallocs := mallocs()
	for l.total < budget {
		start := time.Now()
		if _, err := run(lap); err != nil {
			return Sample{}, err
		}
		l.add(time.Since(start))
		s.Offered += lap
	}
	s.Mallocs = mallocs()
	s.Elapsed = l.typical()
	s.Accepted = s.Offered
	return s, nil
}
