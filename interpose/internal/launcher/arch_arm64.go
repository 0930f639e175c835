//go:build linux

package launcher

const sysSeccomp = 277 // __NR_seccomp (asm-generic/unistd.h)
