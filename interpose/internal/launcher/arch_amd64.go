//go:build linux

package launcher

const sysSeccomp = 317 // __NR_seccomp (asm/unistd_64.h)
