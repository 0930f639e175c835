//go:build linux && (amd64 || arm64)

package interpose

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/netdev"
)

// Programs older than rtnetlink, and programs written by hand, read devices from files of
// /proc/net; libpcap reads files below /sys/class/net/NAME. If a file is opened by such a
// path, to be read, the program gets a memory file with the namespace's devices in it.
// Of a name that the namespace does not have there are no files: the system may have
// another device of that name.

// maxPath is the length of the longest path that may be one of these, with its NUL.
const maxPath = max(len("/proc/self/net/ipv6_route\x00"), len(sysNet+"123456789012345"+"/statistics/tx_heartbeat_errors\x00"))

const sysNet = "/sys/class/net/"

// openat serves openat.
func (c *call) openat() reply { return c.openFile(c.Args[1], c.int(2)) }

// openOld serves open.
func (c *call) openOld() reply { return c.openFile(c.Args[0], c.int(1)) }

// openFile serves the open of a file whose path is at addr. Nearly all files are not ours.
func (c *call) openFile(addr uint64, flags int32) reply {
	var b [maxPath]byte
	path, _, whole := bytes.Cut(b[:c.readPrefix(addr, b[:])], []byte{0})
	if !whole {
		return native
	}
	content, exists, ok := c.s.file(path)
	switch {
	case !ok:
		return native
	case !exists:
		return fail(unix.ENOENT)
	}
	fd, err := memoryFile(content)
	if err != nil {
		return result(err)
	}
	defer unix.Close(fd)
	if _, err := c.s.l.ReturnFD(c.ID, fd, flags&unix.O_CLOEXEC != 0); err != nil {
		return result(err)
	}
	return answered
}

// file makes the file that a path names; not ok means that it is not ours.
func (s *session) file(path []byte) (content []byte, exists, ok bool) {
	if content, ok := procNetFile(path); ok {
		return content(netdev.All(s.ns)), true, true
	}
	device, file, ok := sysNetFile(path)
	if !ok {
		return nil, false, false
	}
	if d, ok := s.ns.DeviceByName(device); ok {
		content, exists = netdev.SysFile(d, s.flags(d), file)
	}
	return content, exists, true
}

// procNetFile finds the file of /proc/net that a path names.
func procNetFile(path []byte) (netdev.ProcNetFile, bool) {
	name, ok := bytes.CutPrefix(path, []byte("/proc/net/"))
	if !ok {
		name, ok = bytes.CutPrefix(path, []byte("/proc/self/net/"))
	}
	if !ok {
		return nil, false
	}
	content, ok := netdev.ProcNet[string(name)]
	return content, ok
}

// sysNetFile splits a path below /sys/class/net into a device's name and a file's.
func sysNetFile(path []byte) (device, file string, ok bool) {
	rest, ok := bytes.CutPrefix(path, []byte(sysNet))
	if !ok {
		return "", "", false
	}
	d, f, ok := bytes.Cut(rest, []byte("/"))
	return string(d), string(f), ok && len(d) > 0 && len(f) > 0
}

// memoryFile makes a memory file with b in it, and returns a descriptor to read it.
func memoryFile(b []byte) (int, error) {
	fd, err := unix.MemfdCreate("rxring-proc", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	f := os.NewFile(uintptr(fd), "rxring-proc")
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return -1, err
	}
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}
