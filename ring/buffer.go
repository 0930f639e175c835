package ring

import "github.com/rxring/rxring/tpacket"

// Buffer is what rings of slots ([Ring]) and of blocks ([Blocks]) have in
// common. All methods may be called concurrently.
type Buffer interface {
	Memory() *Memory
	Geometry() tpacket.Geometry
	Captured() uint64 // packets that have got a place in it, final after Close
	Readable() bool   // packet_poll's rule for EPOLLIN
	States(cells []SlotState) (n, head int)
	Close() error
}

var (
	_ Buffer = (*Ring)(nil)
	_ Buffer = (*Blocks)(nil)
)
