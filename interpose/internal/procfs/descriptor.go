//go:build linux

package procfs

import (
	"fmt"
	"iter"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/proc"
)

// fdPath is /proc/TID/DIR/FD. It is built without fmt: every trapped call that names
// a descriptor needs it.
func fdPath(tid int, dir string, fd int32) string {
	b := strconv.AppendInt([]byte("/proc/"), int64(tid), 10)
	b = append(append(append(b, '/'), dir...), '/')
	return string(strconv.AppendInt(b, int64(fd), 10))
}

// Descriptors lists the numbers of a thread's descriptors.
func Descriptors(tid int) ([]int, error) { return proc.Numbers(fmt.Sprintf("/proc/%d/fd", tid)) }

// Link is what /proc shows for a thread's descriptor: a path, or the kind of the file.
func Link(tid int, fd int32) (string, error) { return os.Readlink(fdPath(tid, "fd", fd)) }

// SocketInode is the inode of the socket that a [Link] names; ok is false if it names
// something else.
func SocketInode(link string) (inode uint64, ok bool) {
	link, ok = strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(link, "]"), 10, 64)
	return inode, err == nil
}

// IsOpen reports whether a thread's descriptor number is in use, as far as we may
// know: Linux shows that even for descriptors that it does not let us inspect.
func IsOpen(tid int, fd int32) bool {
	var st unix.Stat_t
	return unix.Lstat(fdPath(tid, "fd", fd), &st) != unix.ENOENT
}

// DescriptorFlags is the O_ flags of a thread's descriptor, with O_CLOEXEC.
func DescriptorFlags(tid int, fd int32) (int, error) {
	b, err := proc.ReadFile(fdPath(tid, "fdinfo", fd))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "flags:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 8, 64)
			return int(n), nil
		}
	}
	return 0, err
}

// File identifies an open or mapped file.
type File struct{ Dev, Inode uint64 }

// FileOf identifies the file behind one of our own descriptors.
func FileOf(fd int) (File, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return File{uint64(st.Dev), st.Ino}, err
}

// FileAt identifies the file behind a thread's descriptor. It asks the file system
// that the file lies on, which may take long, or forever.
func FileAt(tid int, fd int32) (File, error) {
	var st unix.Stat_t
	err := unix.Stat(fdPath(tid, "fd", fd), &st)
	return File{uint64(st.Dev), st.Ino}, err
}

// Mappings yields the files that a thread's process has mapped.
func Mappings(tid int) iter.Seq[File] {
	return func(yield func(File) bool) {
		b, _ := proc.ReadFile(fmt.Sprintf("/proc/%d/maps", tid))
		for line := range strings.Lines(string(b)) {
			// addresses perms offset major:minor inode path
			f := strings.Fields(line)
			if len(f) < 6 {
				continue // anonymous
			}
			major, minor, _ := strings.Cut(f[3], ":")
			ma, err1 := strconv.ParseUint(major, 16, 32)
			mi, err2 := strconv.ParseUint(minor, 16, 32)
			ino, err3 := strconv.ParseUint(f[4], 10, 64)
			if err1 == nil && err2 == nil && err3 == nil && !yield(File{unix.Mkdev(uint32(ma), uint32(mi)), ino}) {
				return
			}
		}
	}
}

const pidfdThread = unix.O_EXCL // PIDFD_THREAD (linux/pidfd.h)

// Duplicate returns a descriptor of ours for the open file behind a thread's
// descriptor.
func Duplicate(tid int, fd int32) (int, error) {
	pidfd, err := unix.PidfdOpen(tid, pidfdThread)
	if err != nil { // Linux before 6.9
		pidfd, err = unix.PidfdOpen(ThreadGroup(tid), 0)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	return unix.PidfdGetfd(pidfd, int(fd), 0)
}

// DuplicateDenied reports whether [Duplicate] is denied for every process, as by the
// seccomp profiles of some containers.
func DuplicateDenied() bool {
	fd, err := Duplicate(unix.Gettid(), 0)
	if err == nil {
		unix.Close(fd)
	}
	return Denied(err)
}
