package interpose

import "net"

// leastFree keeps indexes the same on nearly every system.
const leastFree = 1001

// FreeIndex is a device index, for [rxring.NamespaceConfig].FirstIndex, from
// which on the system has no devices now: programs that list devices tell the
// namespace's from the system's by it.
func FreeIndex() int {
	free := leastFree
	devices, _ := net.Interfaces() // none known: none in the way
	for _, d := range devices {
		free = max(free, d.Index+1)
	}
	return free
}
