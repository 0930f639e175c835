//go:build !linux

package ring

func newMemory(size int) (*Memory, error) { return NewHeapMemory(size), nil }

func (m *Memory) release() error { return nil }
