//go:build linux && (amd64 || arm64)

package interpose

import (
	"bytes"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procPath is /proc/tid/dir/fd.
func procPath(tid int, dir string, fd int32) string {
	b := strconv.AppendInt([]byte("/proc/"), int64(tid), 10)
	b = append(append(append(b, '/'), dir...), '/')
	return string(strconv.AppendInt(b, int64(fd), 10))
}

// numbers lists a directory's entries that are numbers. The error is that of
// opening it.
func numbers(dir string) ([]int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1) // what was read before an error counts
	ns := make([]int, 0, len(names))
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			ns = append(ns, n)
		}
	}
	return ns, nil
}

func tasks(pid int) []int {
	tids, _ := numbers(fmt.Sprintf("/proc/%d/task", pid))
	return tids
}

// children lists the processes that pid started and that were given to it.
func children(pid int) []int {
	var pids []int
	for _, tid := range tasks(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, tid))
		if os.IsNotExist(err) {
			if _, err := os.Stat("/proc/thread-self/children"); err != nil {
				return childrenByScan(pid) // a kernel without CONFIG_PROC_CHILDREN
			}
		}
		for field := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(field); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

func childrenByScan(parent int) []int {
	var pids []int
	all, _ := numbers("/proc")
	for _, pid := range all {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		// pid (name) state ppid ...; the name may hold anything.
		_, rest, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// descendants lists everything below pid, without pid itself.
func descendants(pid int) []int {
	all := children(pid)
	for i := 0; i < len(all); i++ {
		for _, c := range children(all[i]) {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	return all
}

// threadGroup is the process that a thread belongs to.
func threadGroup(tid int) int { return status(tid, "Tgid:") }

// parent is the process that started a thread's.
func parent(tid int) int { return status(tid, "PPid:") }

// processID is what a thread's process has for its id: in a PID namespace of its
// own another one than ours.
func processID(tid int) int { return status(tid, "NStgid:") }

// status is the last number in a line of /proc/tid/status, 0 when there is none.
func status(tid int, key string) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key); ok {
			if f := strings.Fields(v); len(f) > 0 {
				n, _ := strconv.Atoi(f[len(f)-1])
				return n
			}
		}
	}
	return 0
}

// descriptorFlags is the O_ flags of a thread's descriptor, with O_CLOEXEC.
func descriptorFlags(tid int, fd int32) (int, error) {
	b, err := os.ReadFile(procPath(tid, "fdinfo", fd))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "flags:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 8, 64)
			return int(n), nil
		}
	}
	return 0, err
}

// file names an open file, or one that is mapped.
type file struct{ dev, ino uint64 }

func fileOf(fd int) (file, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return file{uint64(st.Dev), st.Ino}, err
}

// mappings yields the files that a thread's process has mapped.
func mappings(tid int) iter.Seq[file] {
	return func(yield func(file) bool) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", tid))
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
			if err1 == nil && err2 == nil && err3 == nil && !yield(file{unix.Mkdev(uint32(ma), uint32(mi)), ino}) {
				return
			}
		}
	}
}
