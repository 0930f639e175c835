//go:build linux

package seccomp

const (
	auditArch      = 0xc00000b7 // AUDIT_ARCH_AARCH64 (linux/audit.h)
	firstForeignNr = 0xffffffff // there is no such number
)
