package cbpf

import "golang.org/x/sys/unix"

// SockFprog returns prog as the argument of setsockopt for SO_ATTACH_FILTER and
// PACKET_FANOUT_DATA, and of seccomp for SECCOMP_SET_MODE_FILTER.
func SockFprog(prog []Instruction) *unix.SockFprog {
	filter := make([]unix.SockFilter, len(prog), len(prog)+1)
	for i, in := range prog {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return &unix.SockFprog{Len: uint16(len(prog)), Filter: &filter[:1][0]}
}
