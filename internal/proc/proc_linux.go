package proc

import (
	"bytes"
	"slices"
	"strconv"
	"syscall"
)

// Children lists the processes whose parent is pid: those that it started and those that it adopted.
func Children(pid int) []int {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	tids, _ := Numbers(dir)
	var pids []int
	for _, tid := range tids {
		b, err := ReadFile(dir + "/" + strconv.Itoa(tid) + "/children")
		if err == syscall.ENOENT && syscall.Access("/proc/thread-self/children", 0) != nil {
			return childrenByScan(pid) // a kernel without CONFIG_PROC_CHILDREN
		}
		for field := range bytes.FieldsSeq(b) {
			if n, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

func childrenByScan(parent int) []int {
	var pids []int
	all, _ := Numbers("/proc")
	for _, pid := range all {
		b, _ := ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		// pid (name) state ppid ...; the name may contain any character.
		if f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]); len(f) > 1 && string(f[1]) == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Numbers lists a directory's entries that are numbers. The error is the errno of opening it.
func Numbers(dir string) ([]int, error) {
	fd, err := open(dir, syscall.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	var names []string
	buf := make([]byte, 4096)
	for {
		n, _ := syscall.ReadDirent(fd, buf) // names that were read before an error count
		if n <= 0 {
			break
		}
		_, _, names = syscall.ParseDirent(buf[:n], -1, names)
	}
	ns := make([]int, 0, len(names))
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			ns = append(ns, n)
		}
	}
	return ns, nil
}

// ReadFile is os.ReadFile for a file of /proc, which neither waits nor says how long it is. The
// error is an errno.
func ReadFile(path string) ([]byte, error) {
	fd, err := open(path, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	b := make([]byte, 0, 4096) // more than most of them have
	for {
		n, err := syscall.Read(fd, b[len(b):cap(b)])
		if n <= 0 {
			return b, err
		}
		b = b[:len(b)+n]
		b = slices.Grow(b, 1)
	}
}

func open(path string, flags int) (int, error) {
	return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|flags, 0)
}
