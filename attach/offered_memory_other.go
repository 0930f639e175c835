//go:build !linux

package attach

import "github.com/rxring/rxring/internal/ringmem"

type offeredMemory struct{}

func newMemfd(int) (int, error)                           { return -1, errSystem }
func newOfferedMemory(int, []int) (*offeredMemory, error) { return nil, errSystem }
func (*offeredMemory) seal() error                        { return errSystem }
func (*offeredMemory) take() []*ringmem.Memory            { return nil }
func (*offeredMemory) close()                             {}
