//go:build !linux

package ringmem

func newAll(sizes []int) ([]*Memory, error) {
	ms := make([]*Memory, len(sizes))
	for i, n := range sizes {
		ms[i] = NewHeap(n)
	}
	return ms, nil
}

func newPrivate(size int) (*Memory, error) {
	m := NewHeap(size)
	m.private = true
	return m, nil
}

func (m *Memory) release() error { return nil }
