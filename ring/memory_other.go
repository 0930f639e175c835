//go:build !linux

package ring

func newMemories(sizes []int) ([]*Memory, error) {
	ms := make([]*Memory, len(sizes))
	for i, n := range sizes {
		ms[i] = NewHeapMemory(n)
	}
	return ms, nil
}

func newPrivateMemory(size int) (*Memory, error) {
	m := NewHeapMemory(size)
	m.private = true
	return m, nil
}

func (m *Memory) release() error { return nil }
