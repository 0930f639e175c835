package writer

import (
	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Buffer is what rings of slots ([Ring]) and of blocks ([Blocks]) have in
// common. All methods may be called concurrently.
type Buffer interface {
	Memory() *ringmem.Memory
	Geometry() tpacket.Geometry
	Captured() uint64 // packets that were written or are being written, final after Close
	Readable() bool   // packet_poll's rule for EPOLLIN
	States(cells []slots.State) (n, head int)
	Close() error
	Closed() bool
}

var (
	_ Buffer = (*Ring)(nil)
	_ Buffer = (*Blocks)(nil)
)

// NewReader returns the reader of b in this process. It sleeps on n, the Notify
// that b's writers wake.
func NewReader(b Buffer, n *notify.Notify) *ring.Reader {
	over := func() error {
		if b.Closed() {
			return ring.ErrClosed
		}
		return nil
	}
	rd, err := ring.NewReader(b.Memory(), b.Geometry(), notify.NewSleeper(n, over))
	if err != nil {
		panic(err) // b would not exist in memory of another size
	}
	return rd
}
