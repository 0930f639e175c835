//go:build !nolibpcap && (darwin || linux) && (amd64 || arm64)

package pcapfilter

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unsafe"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
)

// Compile compiles a filter expression for packets of a link type (a LINKTYPE_* of capture
// files). The program accepts snaplen bytes of a packet, or 262144 if snaplen is 0. The
// empty expression accepts every packet.
//
// The error for an invalid expression contains libpcap's message and unwraps to EINVAL. The
// error for a missing libpcap says how to install it and unwraps to
// [errors.ErrUnsupported]. Expressions with host names wait for the resolver.
func Compile(expr string, linktype int, snaplen int) ([]cbpf.Instruction, error) {
	return compile(names(), expr, linktype, snaplen)
}

const (
	maxSnaplen     = 262144     // MAXIMUM_SNAPLEN: tcpdump's own
	netmaskUnknown = 0xffffffff // PCAP_NETMASK_UNKNOWN
)

func compile(names []string, expr string, linktype, snaplen int) ([]cbpf.Instruction, error) {
	if snaplen == 0 {
		snaplen = maxSnaplen
	}
	switch {
	case strings.ContainsRune(expr, 0):
		return nil, refuse(expr, "want no zero byte in it")
	case snaplen < 0 || snaplen > maxSnaplen:
		return nil, refuse(expr, fmt.Sprintf("snaplen %d: want 1 to %d, or 0 for the default", snaplen, maxSnaplen))
	}
	l, err := load(names)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", expr, err)
	}
	if l.oneByOne {
		mu.Lock()
		defer mu.Unlock()
	}
	p := l.openDead(int32(DLT(linktype)), int32(snaplen))
	if p == 0 {
		return nil, explain.Errorf(syscall.ENOMEM, "filter %q: pcap_open_dead", expr)
	}
	defer l.close(p)
	const optimize = 1
	var prog program
	if l.compile(p, &prog, expr, optimize, netmaskUnknown) != 0 {
		return nil, refuse(expr, l.getErr(p)+": pcap-filter(7) describes expressions")
	}
	defer l.freeCode(&prog)
	code := cbpf.ParseBytes(unsafe.Slice(prog.instructions, int(prog.length)*cbpf.SizeofInstruction))
	if _, err := cbpf.Compile(code); err != nil { // protochain jumps back
		return nil, fmt.Errorf("filter %q: libpcap compiles it to a program that Linux refuses: %w", expr, err)
	}
	return code, nil
}

func refuse(expr, why string) error {
	return explain.Errorf(syscall.EINVAL, "filter %q: %s", expr, why)
}

// missingError is returned if libpcap cannot be loaded.
type missingError struct{ err error }

func (e *missingError) Error() string {
	return "filter expressions need libpcap, which cannot be loaded (" + strings.ReplaceAll(e.err.Error(), "\n", "; ") +
		"): install it (on Debian and Ubuntu: apt-get install libpcap0.8), or capture without an expression"
}

func (e *missingError) Unwrap() []error { return []error{e.err, errors.ErrUnsupported} }
