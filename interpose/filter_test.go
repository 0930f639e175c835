//go:build linux && (amd64 || arm64)

package interpose

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/tpacket"
)

// evaluate runs a seccomp filter made of the few instructions that assemble
// uses.
func evaluate(t *testing.T, prog []unix.SockFilter, arch, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	load := func(off uint32) uint32 {
		switch {
		case off == dataNr:
			return nr
		case off == dataArch:
			return arch
		case off >= dataArgs && off < dataArgs+48 && off%4 == 0:
			v := args[(off-dataArgs)/8]
			return uint32(v >> (8 * (off % 8)))
		}
		t.Fatalf("load at %d", off)
		return 0
	}
	var a uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		taken := false
		switch in.Code {
		case opLoad:
			a = load(in.K)
			continue
		case opAnd:
			a &= in.K
			continue
		case opRet:
			return in.K
		case opJeq:
			taken = a == in.K
		case opJge:
			taken = a >= in.K
		default:
			t.Fatalf("instruction %+v", in)
		}
		if taken {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("fell off the end")
	return 0
}

func TestFilterAsksOnlyAboutWhatMatters(t *testing.T) {
	prog, err := assemble(rules(traps{}))
	if err != nil {
		t.Fatal(err)
	}
	if len(prog) > unix.BPF_MAXINSNS {
		t.Fatalf("%d instructions", len(prog))
	}
	const high = 0xdead00000000 // bits that the kernel ignores in an int
	type args = [6]uint64
	for _, c := range []struct {
		behaviour string
		nr        uint32
		args      args
		asks      bool
	}{
		{"a packet socket", unix.SYS_SOCKET, args{tpacket.AFPacket, 3}, true},
		{"a packet socket, dirty register", unix.SYS_SOCKET, args{high | tpacket.AFPacket, 3}, true},
		{"a socket that lists devices", unix.SYS_SOCKET, args{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, true},
		{"a socket of a firewall's", unix.SYS_SOCKET, args{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, true},
		{"another netlink socket", unix.SYS_SOCKET, args{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT}, false},
		{"another family with a protocol of that number", unix.SYS_SOCKET, args{unix.AF_INET, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, false},
		{"a netlink option", unix.SYS_SETSOCKOPT, args{9, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK}, true},
		{"a device's addresses", unix.SYS_IOCTL, args{9, unix.SIOCGIFCONF}, true},
		{"a wireless device's name", unix.SYS_IOCTL, args{9, 0x8b01}, true},
		{"another socket", unix.SYS_SOCKET, args{unix.AF_INET, 3}, false},
		{"a packet option", unix.SYS_SETSOCKOPT, args{9, tpacket.SolPacket, 77}, true},
		{"a filter", unix.SYS_SETSOCKOPT, args{9, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}, true},
		{"an option of no interest", unix.SYS_SETSOCKOPT, args{9, unix.SOL_SOCKET, unix.SO_REUSEADDR}, false},
		{"a TCP option with a packet option's number", unix.SYS_SETSOCKOPT, args{9, unix.IPPROTO_TCP, unix.SO_TYPE}, false},
		{"the socket's type", unix.SYS_GETSOCKOPT, args{9, unix.SOL_SOCKET, unix.SO_TYPE}, true},
		{"a device's index", unix.SYS_IOCTL, args{9, unix.SIOCGIFINDEX}, true},
		{"a terminal's size", unix.SYS_IOCTL, args{9, unix.TIOCGWINSZ}, false},
		{"a shared file", unix.SYS_MMAP, args{0, 4096, 3, unix.MAP_SHARED, 9}, true},
		{"a shared file, populated", unix.SYS_MMAP, args{0, 4096, 3, unix.MAP_SHARED | unix.MAP_POPULATE | unix.MAP_LOCKED, 9}, true},
		{"a shared file, validated", unix.SYS_MMAP, args{0, 4096, 3, unix.MAP_SHARED_VALIDATE, 9}, true},
		{"a library", unix.SYS_MMAP, args{0, 4096, 5, unix.MAP_PRIVATE, 9}, false},
		{"shared memory without a file", unix.SYS_MMAP, args{0, 4096, 3, unix.MAP_SHARED | unix.MAP_ANONYMOUS, ^uint64(0)}, false},
		{"memory", unix.SYS_MMAP, args{0, 4096, 3, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0)}, false},
		{"a wait", unix.SYS_PPOLL, args{}, true},
		{"a file that might list devices", unix.SYS_OPENAT, args{high | 0xffffff9c, 0x1000, high | unix.O_RDONLY | unix.O_CLOEXEC}, true},
		{"a file to write", unix.SYS_OPENAT, args{0xffffff9c, 0x1000, unix.O_RDWR}, false},
		{"a new file", unix.SYS_OPENAT, args{0xffffff9c, 0x1000, unix.O_CREAT}, false},
		{"a directory", unix.SYS_OPENAT, args{0xffffff9c, 0x1000, unix.O_DIRECTORY}, false},
		{"a read", unix.SYS_READ, args{9}, false},
		{"a write", unix.SYS_WRITE, args{9}, false},
		{"a close", unix.SYS_CLOSE, args{9}, false},
	} {
		want := uint32(unix.SECCOMP_RET_ALLOW)
		if c.asks {
			want = unix.SECCOMP_RET_USER_NOTIF
		}
		if got := evaluate(t, prog, auditArch, c.nr, c.args); got != want {
			t.Errorf("%s: %#x, want %#x", c.behaviour, got, want)
		}
		const i386 = 0x40000003 // AUDIT_ARCH_I386
		if got := evaluate(t, prog, i386, c.nr, c.args); got != unix.SECCOMP_RET_ALLOW {
			t.Errorf("%s, as a 32-bit program: %#x", c.behaviour, got)
		}
		if firstForeignNr == 0x40000000 {
			if got := evaluate(t, prog, auditArch, c.nr|firstForeignNr, c.args); got != unix.SECCOMP_RET_ALLOW {
				t.Errorf("%s, as an x32 program: %#x", c.behaviour, got)
			}
		}
	}
}

func TestFilterMayLeaveFilesAlone(t *testing.T) {
	for noProcNet, want := range map[bool]uint32{false: unix.SECCOMP_RET_USER_NOTIF, true: unix.SECCOMP_RET_ALLOW} {
		prog, err := assemble(rules(traps{NoProcNet: noProcNet}))
		if err != nil {
			t.Fatal(err)
		}
		if got := evaluate(t, prog, auditArch, unix.SYS_OPENAT, [6]uint64{0xffffff9c, 0x1000, unix.O_RDONLY}); got != want {
			t.Errorf("no procnet %v: %#x, want %#x", noProcNet, got, want)
		}
	}
}

func TestFilterMayLetMlockDoNothing(t *testing.T) {
	for _, noMlock := range []bool{false, true} {
		prog, err := assemble(rules(traps{NoMlock: noMlock}))
		if err != nil {
			t.Fatal(err)
		}
		want := uint32(unix.SECCOMP_RET_ALLOW)
		if noMlock {
			want = unix.SECCOMP_RET_ERRNO
		}
		for _, nr := range []uint32{unix.SYS_MLOCK, unix.SYS_MLOCK2, unix.SYS_MLOCKALL} {
			if got := evaluate(t, prog, auditArch, nr, [6]uint64{}); got != want {
				t.Errorf("no mlock %v: call %d: %#x, want %#x", noMlock, nr, got, want)
			}
		}
		if got := evaluate(t, prog, auditArch, unix.SYS_MUNLOCKALL, [6]uint64{}); got != unix.SECCOMP_RET_ALLOW {
			t.Errorf("munlockall: %#x", got)
		}
	}
}

// What records depend on is trapped where there are records, and not elsewhere; and
// with KeepUser a process's user stays.
func TestFilterFollowsIdentitiesAndDescriptorNumbers(t *testing.T) {
	type args = [6]uint64
	const allow, ask, idle = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_RET_ERRNO
	for _, c := range []struct {
		behaviour                string
		nr                       uint32
		args                     args
		usual, records, keepUser uint32
	}{
		{"setuid", unix.SYS_SETUID, args{1000}, allow, ask, idle},
		{"setresgid", unix.SYS_SETRESGID, args{1000, 1000, 1000}, allow, ask, idle},
		{"setgroups", unix.SYS_SETGROUPS, args{}, allow, allow, idle},
		{"prctl(PR_SET_DUMPABLE)", unix.SYS_PRCTL, args{unix.PR_SET_DUMPABLE}, allow, ask, idle},
		{"prctl(PR_SET_NAME)", unix.SYS_PRCTL, args{unix.PR_SET_NAME}, allow, allow, allow},
		{"close", unix.SYS_CLOSE, args{9}, allow, ask, allow},
		{"close_range", unix.SYS_CLOSE_RANGE, args{3, 9}, allow, ask, allow},
		{"dup3", unix.SYS_DUP3, args{9, 10}, allow, ask, allow},
		{"F_DUPFD_CLOEXEC", unix.SYS_FCNTL, args{9, unix.F_DUPFD_CLOEXEC}, allow, ask, allow},
		{"F_SETFL", unix.SYS_FCNTL, args{9, unix.F_SETFL}, allow, allow, allow},
		{"execve", unix.SYS_EXECVE, args{}, allow, allow, allow},
	} {
		for _, with := range []struct {
			traps
			want uint32
		}{{traps{}, c.usual}, {traps{Records: true}, c.records}, {traps{KeepUser: true}, c.keepUser}} {
			prog, err := assemble(rules(with.traps))
			if err != nil {
				t.Fatal(err)
			}
			if got := evaluate(t, prog, auditArch, c.nr, c.args); got != with.want {
				t.Errorf("%s, %+v: %#x, want %#x", c.behaviour, with.traps, got, with.want)
			}
		}
	}
}
