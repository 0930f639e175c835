package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leastLandlock is the first version that lets a file move to another directory (Linux
// 5.19): attach makes its socket in one and moves it to its place.
const leastLandlock = 2

const (
	readFile = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readTree = readFile | unix.LANDLOCK_ACCESS_FS_READ_DIR
	execute  = unix.LANDLOCK_ACCESS_FS_EXECUTE // of the program itself, once; see FilterCalls

	makeSockets = readTree |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REFER |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR

	// rightsOfFiles are those that a rule about a file, not a directory, may have.
	rightsOfFiles = readFile | execute | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// netPort mirrors struct landlock_net_port_attr (linux/landlock.h).
type netPort struct {
	access, port uint64
}

const ruleNetPort = 2 // LANDLOCK_RULE_NET_PORT

// landlockABI is the version of the kernel's Landlock, 0 where there is none: not
// compiled in, not enabled at boot, or denied by a container's seccomp profile.
func landlockABI() int {
	n, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || int(n) < leastLandlock {
		return 0
	}
	return int(n)
}

// handled are the rights that version abi knows. What is handled and not granted by a
// rule is denied.
func handled(abi int) (a unix.LandlockRulesetAttr, size uintptr) {
	fs := uint64(unix.LANDLOCK_ACCESS_FS_REFER)<<1 - 1 // all up to version 2
	if abi >= 3 {
		fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	a.Handled_access_fs = fs
	size = unsafe.Sizeof(a.Handled_access_fs)
	if abi >= 4 {
		a.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size += unsafe.Sizeof(a.Handled_access_net)
	}
	if abi >= 6 {
		a.Scoped = unix.LANDLOCK_SCOPE_SIGNAL
		// systemd's socket may have an abstract address.
		if !strings.HasPrefix(os.Getenv("NOTIFY_SOCKET"), "@") {
			a.Scoped |= unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
		}
		size += unsafe.Sizeof(a.Scoped)
	}
	return a, size
}

// ruleset is what a thread may do once it is restricted.
type ruleset struct {
	fd      int
	handled unix.LandlockRulesetAttr
}

// newRuleset makes the rules of c, and of what every program here needs.
func newRuleset(abi int, c *Config) (*ruleset, error) {
	r := new(ruleset)
	var size uintptr
	r.handled, size = handled(abi)
	fd, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&r.handled)), size, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("landlock_create_ruleset", errno)
	}
	r.fd = int(fd)
	var errs []error
	allow := func(rights uint64, paths ...string) {
		for _, p := range paths {
			errs = append(errs, r.allow(rights, p))
		}
	}
	allow(readTree, c.Read...)
	allow(readTree|execute, systemDirs...)
	allow(execute|readFile, self)
	allow(makeSockets, c.MakeSockets...)
	allow(readFile|unix.LANDLOCK_ACCESS_FS_WRITE_FILE, "/dev/null")
	allow(readFile, "/dev/zero", "/dev/urandom")
	if abi >= 4 {
		for _, port := range c.Bind {
			errs = append(errs, r.allowPort(unix.LANDLOCK_ACCESS_NET_BIND_TCP, port))
		}
		for _, port := range c.Connect {
			errs = append(errs, r.allowPort(unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, port))
		}
	}
	if err := errors.Join(errs...); err != nil {
		unix.Close(r.fd)
		return nil, err
	}
	return r, nil
}

// systemDirs have the libraries that a program loads when it starts, and later: libpcap,
// and those by which the C library looks up names.
var systemDirs = []string{"/usr", "/lib", "/lib64", "/lib32", "/nix/store", "/gnu/store"}

// allow grants rights on a file, or on all that is in a directory.
func (r *ruleset) allow(rights uint64, path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // it is not there, or cannot be reached anyway
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= rightsOfFiles
	}
	a := unix.LandlockPathBeneathAttr{Allowed_access: rights & r.handled.Handled_access_fs, Parent_fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&a)), 0, 0, 0)
	if errno == unix.EBADFD { // a pipe or a socket, which Landlock does not restrict
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("landlock_add_rule %s: %w", path, errno)
	}
	return nil
}

func (r *ruleset) allowPort(right uint64, port uint16) error {
	a := netPort{right, uint64(port)}
	_, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), ruleNetPort, uintptr(unsafe.Pointer(&a)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("landlock_add_rule port %d: %w", port, errno)
	}
	return nil
}

// restrict restricts the calling thread, which must have no_new_privs, and what it
// executes.
func (r *ruleset) restrict() error {
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), 0, 0)
	unix.Close(r.fd)
	if errno != 0 {
		return os.NewSyscallError("landlock_restrict_self", errno)
	}
	return nil
}
