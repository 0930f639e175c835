//go:build linux

package seccomp

const (
	auditArch      = 0xc000003e // AUDIT_ARCH_X86_64 (linux/audit.h)
	firstForeignNr = 0x40000000 // __X32_SYSCALL_BIT (asm/unistd.h)
)
