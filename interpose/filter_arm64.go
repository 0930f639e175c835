//go:build linux

package interpose

const (
	auditArch      = 0xc00000b7 // AUDIT_ARCH_AARCH64 (linux/audit.h)
	firstForeignNr = 0xffffffff // there is none
)

// archPollCalls is empty: the C library makes all of them from pollCalls.
var archPollCalls []uint32

var archDups []uint32

var archOpens []uint32

var archEpollWaits []uint32
