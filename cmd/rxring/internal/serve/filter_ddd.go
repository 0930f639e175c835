package serve

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/rxring/rxring/cbpf"
)

// parseDDD parses a program in the format of `tcpdump -ddd`: the number of instructions, then
// op, jt, jf and k of each, in decimal, separated by newlines or commas.
func parseDDD(text string) ([]cbpf.Instruction, error) {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' || r == '\r' })
	var rows [][]string
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 0 {
			rows = append(rows, f)
		}
	}
	const want = "want what tcpdump -ddd prints"
	if len(rows) == 0 || len(rows[0]) != 1 {
		return nil, fmt.Errorf("it does not start with the number of instructions: %s", want)
	}
	n, err := strconv.Atoi(rows[0][0])
	if err != nil || n != len(rows)-1 {
		return nil, fmt.Errorf("it has %d instructions but starts with %q: %s", len(rows)-1, rows[0][0], want)
	}
	prog := make([]cbpf.Instruction, n)
	for i, row := range rows[1:] {
		if len(row) != 4 {
			return nil, fmt.Errorf("instruction %d, %q, has %d numbers: want 4, as tcpdump -ddd prints", i, strings.Join(row, " "), len(row))
		}
		var v [4]uint64
		for j, bits := range [4]int{16, 8, 8, 32} {
			if v[j], err = strconv.ParseUint(row[j], 10, bits); err != nil {
				return nil, fmt.Errorf("instruction %d: %q: want a number of %d bits", i, row[j], bits)
			}
		}
		prog[i] = cbpf.Instruction{Op: uint16(v[0]), Jt: uint8(v[1]), Jf: uint8(v[2]), K: uint32(v[3])}
	}
	if _, err := cbpf.Compile(prog); err != nil {
		return nil, err
	}
	return prog, nil
}

// formatDDD formats a program for parseDDD.
func formatDDD(prog []cbpf.Instruction) string {
	var b strings.Builder
	fmt.Fprintln(&b, len(prog))
	for _, in := range prog {
		fmt.Fprintln(&b, in.Op, in.Jt, in.Jf, in.K)
	}
	return b.String()
}
