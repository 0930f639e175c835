package ring

import "github.com/rxring/rxring/internal/ringmem"

// MapMemory maps the size bytes of the ring behind fd: a packet socket, or the memfd
// of a ring that another process shares. fd may be closed afterwards. What is touched
// after Close is private memory, without meaning. The error unwraps to the errno of
// mmap.
func MapMemory(fd, size int) (Memory, error) {
	m, err := ringmem.Map(fd, size)
	if err != nil {
		return nil, err // not m: a nil pointer is no nil interface
	}
	return m, nil
}
