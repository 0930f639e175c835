//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// Values of struct seccomp_data's arch (linux/audit.h).
const archI386 = 0x40000003 // AUDIT_ARCH_I386

var arch = map[string]uint32{"amd64": 0xc000003e, "arm64": 0xc00000b7}[runtime.GOARCH]

// evaluate runs a seccomp filter on a struct seccomp_data. Classic BPF loads words of
// packets in network order, so the words are laid out like that.
func evaluate(t *testing.T, prog []unix.SockFilter, arch, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	data := binary.BigEndian.AppendUint32(nil, nr)
	data = binary.BigEndian.AppendUint32(data, arch)
	data = binary.BigEndian.AppendUint64(data, 0) // instruction_pointer
	for _, a := range args {                      // little-endian: the low half is first
		data = binary.BigEndian.AppendUint32(data, uint32(a))
		data = binary.BigEndian.AppendUint32(data, uint32(a>>32))
	}
	var ins []cbpf.Instruction
	for _, in := range prog {
		ins = append(ins, cbpf.Instruction{Op: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K})
	}
	f, err := cbpf.Compile(ins)
	if err != nil {
		t.Fatal(err)
	}
	return f.Run(&cbpf.Packet{Data: data, Len: uint32(len(data))})
}

func TestFilterTrapsOnlyCallsOfInterest(t *testing.T) {
	prog, err := filter(options{})
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
		{"a firewall socket", unix.SYS_SOCKET, args{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, true},
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
		if got := evaluate(t, prog, arch, c.nr, c.args); got != want {
			t.Errorf("%s: %#x, want %#x", c.behaviour, got, want)
		}
		if got := evaluate(t, prog, archI386, c.nr, c.args); got != unix.SECCOMP_RET_ALLOW {
			t.Errorf("%s, as a 32-bit program: %#x", c.behaviour, got)
		}
		if runtime.GOARCH == "amd64" {
			const x32 = 0x40000000 // __X32_SYSCALL_BIT (asm/unistd.h)
			if got := evaluate(t, prog, arch, c.nr|x32, c.args); got != unix.SECCOMP_RET_ALLOW {
				t.Errorf("%s, as an x32 program: %#x", c.behaviour, got)
			}
		}
	}
}

func TestFilterWithoutProcNet(t *testing.T) {
	for noProcNet, want := range map[bool]uint32{false: unix.SECCOMP_RET_USER_NOTIF, true: unix.SECCOMP_RET_ALLOW} {
		prog, err := filter(options{NoProcNet: noProcNet})
		if err != nil {
			t.Fatal(err)
		}
		if got := evaluate(t, prog, arch, unix.SYS_OPENAT, [6]uint64{0xffffff9c, 0x1000, unix.O_RDONLY}); got != want {
			t.Errorf("no procnet %v: %#x, want %#x", noProcNet, got, want)
		}
	}
}

func TestFilterIgnoresMlock(t *testing.T) {
	for _, noMlock := range []bool{false, true} {
		prog, err := filter(options{NoMlock: noMlock})
		if err != nil {
			t.Fatal(err)
		}
		want := uint32(unix.SECCOMP_RET_ALLOW)
		if noMlock {
			want = unix.SECCOMP_RET_ERRNO
		}
		for _, nr := range []uint32{unix.SYS_MLOCK, unix.SYS_MLOCK2, unix.SYS_MLOCKALL} {
			if got := evaluate(t, prog, arch, nr, [6]uint64{}); got != want {
				t.Errorf("no mlock %v: call %d: %#x, want %#x", noMlock, nr, got, want)
			}
		}
		if got := evaluate(t, prog, arch, unix.SYS_MUNLOCKALL, [6]uint64{}); got != unix.SECCOMP_RET_ALLOW {
			t.Errorf("munlockall: %#x", got)
		}
	}
}

// The calls that records depend on are trapped only with records, and KeepUser ignores
// those that change a process's user.
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
			options
			want uint32
		}{{options{}, c.usual}, {options{Records: true}, c.records}, {options{KeepUser: true}, c.keepUser}} {
			prog, err := filter(with.options)
			if err != nil {
				t.Fatal(err)
			}
			if got := evaluate(t, prog, arch, c.nr, c.args); got != with.want {
				t.Errorf("%s, %+v: %#x, want %#x", c.behaviour, with.options, got, with.want)
			}
		}
	}
}
