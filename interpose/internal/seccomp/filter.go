//go:build linux && (amd64 || arm64)

package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Rule says what a filter does with one system call if all conditions of a rule hold.
// Several rules for one call are alternatives; calls without a rule are allowed.
type Rule struct {
	NR     uint32
	Name   string // for errors
	All    []Condition
	Action uint32 // SECCOMP_RET_*; 0: SECCOMP_RET_USER_NOTIF
}

// Condition holds if the low 32 bits of an argument, masked, are one of Values. It
// fits arguments of which the kernel uses the low half only, such as an int.
type Condition struct {
	Arg    int
	Mask   uint32 // 0: all bits
	Values []uint32
}

// Offsets in struct seccomp_data (linux/seccomp.h).
const (
	dataNr   = 0
	dataArch = 4
	dataArgs = 16
)

// Opcodes of the instructions used (linux/bpf_common.h).
const (
	opLoad = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opAnd  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opJeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opJge  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	opRet  = unix.BPF_RET | unix.BPF_K
)

// maxJump is the longest jump of an instruction.
const maxJump = 255

// Assemble turns rules into a filter. It allows the calls of other architectures
// (32-bit programs, x32).
func Assemble(rules []Rule) ([]unix.SockFilter, error) {
	allow := unix.SockFilter{Code: opRet, K: unix.SECCOMP_RET_ALLOW}
	prog := []unix.SockFilter{
		{Code: opLoad, K: dataArch},
		{Code: opJeq, K: auditArch, Jt: 1},
		allow,
		{Code: opLoad, K: dataNr},
		{Code: opJge, K: firstForeignNr, Jf: 1},
		allow,
	}
	for len(rules) > 0 {
		nr, name := rules[0].NR, rules[0].Name
		var body []unix.SockFilter
		for _, r := range rules {
			if r.NR == nr {
				body = append(body, r.code()...)
			}
		}
		body = append(body, allow)
		rules = slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return r.NR == nr })
		if len(body) > maxJump {
			return nil, fmt.Errorf("seccomp filter: %d instructions for system call %s (%d): want at most %d, the longest jump", len(body), name, nr, maxJump)
		}
		prog = append(prog, unix.SockFilter{Code: opJeq, K: nr, Jf: uint8(len(body))})
		prog = append(prog, body...)
	}
	return append(prog, allow), nil
}

// code is built back to front: a condition that does not hold jumps over the rest of
// the rule.
func (r *Rule) code() []unix.SockFilter {
	action := r.Action
	if action == 0 {
		action = unix.SECCOMP_RET_USER_NOTIF
	}
	code := []unix.SockFilter{{Code: opRet, K: action}}
	for _, c := range slices.Backward(r.All) {
		// Both architectures are little-endian: the low half is first.
		test := []unix.SockFilter{{Code: opLoad, K: uint32(dataArgs + 8*c.Arg)}}
		if c.Mask != 0 {
			test = append(test, unix.SockFilter{Code: opAnd, K: c.Mask})
		}
		for i, v := range c.Values {
			test = append(test, unix.SockFilter{Code: opJeq, K: v, Jt: uint8(len(c.Values) - 1 - i)})
		}
		test[len(test)-1].Jf = uint8(len(code))
		code = append(test, code...)
	}
	return code
}
